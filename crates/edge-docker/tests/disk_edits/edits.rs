//! Generated edits: each has a number, from which it follows.

use std::fs;

use crate::apps::App;
use crate::device::Device;
use crate::device::dice::Dice;
use crate::json::Files;
use crate::scripts;

/// Seed of all edits, combined with the number of one.
const SEED: u64 = 0x5eed_0019;
/// Every edit with this distance is one of what all apps share.
const DEVICE_EVERY: u64 = 49;

/// Part of the device that an edit may affect.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One container.
    Container,
    /// Content of an image layer, which the check of layers finds.
    Layer,
    /// All containers.
    Device,
}

/// Edit of the disk.
pub struct Edit {
    pub number: u64,
    /// App that is edited, by its position.
    pub app: usize,
    pub what: String,
    pub scope: Scope,
    /// Whether the edit says that the app was stopped, which nobody can tell from a stop.
    pub may_stop: bool,
    script: String,
    /// Files of another app.
    other: Vec<String>,
    /// Files with their new content.
    written: Vec<(String, Vec<u8>)>,
}

/// Edits of which something once ran.
pub const KNOWN: [&str; 20] = [
    "cd $OWN-init/diff && attr etc trusted.overlay.redirect bin",
    "cd $OWN-init/diff && attr etc trusted.overlay.opaque y",
    "cd $OWN-init/diff && chmod 777 dev",
    "cd $OWN-init/diff && rm -r etc",
    "cd $OWN-init/diff && rm etc/mtab",
    "cd $OWN/diff && chmod 777 .",
    "cd $OWN/diff && attr . user.note x",
    "cd $OWN/diff && chown 1000 .",
    // The container is recreated on the layers of another image.
    "cat $OTHER_LAYER/link | sed 's,^,l/,' > $LAYER/lower && sed -i 's/VERSION=2/VERSION=3/' $RECORD",
    "printf x > $METADATA/size",
    // The engine cannot decode it and skips the container.
    "put $STORED/config.v2.json Created false",
    "put $STORED/hostconfig.json ExtraHosts 0",
    "put $RECORD HostConfig.Tmpfs '{\"/bin\":\"\"}'; put $STORED/hostconfig.json Tmpfs '{\"/bin\":\"\"}'",
    "rm -rf /data/apps/$NAME && mkfifo /data/apps/$NAME",
    // What is removed with the container is another's.
    "printf $OTHER_OWN > ../image/overlay2/layerdb/mounts/$ID/mount-id",
    "printf $OTHER_LAYER > ../image/overlay2/layerdb/mounts/$ID/mount-id",
    "printf $LAYER > ../image/overlay2/layerdb/mounts/$ID/mount-id",
    "cat $OTHER_OWN/link > $OWN/link",
    "rm -r $STORED",
    // The layer is that of another image, which a check has found intact.
    "cp $OTHER_METADATA/cache-id $METADATA/cache-id && put $STORED/hostconfig.json SecurityOpt '[\"evil\"]'",
];

/// Returns the edits of [`KNOWN`], one of each app.
pub fn known(apps: &[App]) -> Vec<Edit> {
    let numbered = KNOWN.iter().zip(0..);
    numbered
        .map(|(script, app)| {
            let mut edit = Edit::new(u64::MAX, app, apps, &mut Dice::new(SEED));
            edit.run("/data/docker/overlay2", script);
            edit
        })
        .collect()
}

/// Returns the edits of the next boot, beginning with `first`: one of each of the first
/// `edited` apps, or a single one of what all share.
pub fn round(first: u64, end: u64, edited: usize, device: &Device, apps: &[App]) -> Vec<Edit> {
    if is_alone(first) {
        return vec![Edit::of(first, 0, device, apps)];
    }
    let numbers = (first..end).take(edited);
    let numbers = numbers.take_while(|number| !is_alone(*number)).zip(0..);
    numbers
        .map(|(number, app)| Edit::of(number, app, device, apps))
        .collect()
}

fn is_alone(number: u64) -> bool {
    number % DEVICE_EVERY == DEVICE_EVERY - 1
}

impl Edit {
    /// Returns an edit of the app number `app` without effect.
    fn new(number: u64, app: usize, apps: &[App], dice: &mut Dice) -> Self {
        let other = &apps[(app + 1 + dice.below(apps.len() - 1)) % apps.len()];
        Self {
            number,
            app,
            what: String::new(),
            scope: Scope::Container,
            may_stop: false,
            script: variables(&apps[app], other, dice),
            other: other.files(),
            written: Vec::new(),
        }
    }

    fn of(number: u64, app: usize, device: &Device, apps: &[App]) -> Self {
        let mut dice = Dice::new(SEED ^ (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let own = &apps[app];
        let mut edit = Self::new(number, app, apps, &mut dice);
        if is_alone(number) {
            edit.scope = Scope::Device;
            let at = usize::try_from(number / DEVICE_EVERY).unwrap();
            let script = scripts::DEVICE[at % scripts::DEVICE.len()];
            edit.run("/data/docker", script);
            return edit;
        }
        match dice.below(20) {
            0..=2 => edit.run(
                &format!("{}/diff", own.own),
                dice.pick::<&str>(scripts::TOP),
            ),
            3..=4 => edit.run(
                &format!("{}-init/diff", own.own),
                dice.pick::<&str>(scripts::INIT),
            ),
            5..=7 => {
                edit.scope = Scope::Layer;
                edit.run(
                    &format!("{}/diff", own.layer),
                    dice.pick::<&str>(scripts::LAYER),
                );
            }
            8 => edit.run(&own.stored(""), dice.pick::<&str>(scripts::CONTAINER)),
            9..=13 => edit.json(&mut dice, device, own, 1),
            14 => {
                // A container that differs is recreated, on layers that were edited.
                edit.json(&mut dice, device, own, 1);
                edit.damage(&mut dice, own);
            }
            15 => edit.json(&mut dice, device, own, 3),
            16 => edit.older(&mut dice, device, own),
            _ => edit.damage(&mut dice, own),
        }
        edit
    }

    fn run(&mut self, directory: &str, script: &str) {
        self.what += &format!("[{directory}: {script}] ");
        self.script += &format!("(cd {directory} && {script}) || true\n");
    }

    /// Changes values of the container's JSON files.
    fn json(&mut self, dice: &mut Dice, device: &Device, app: &App, count: usize) {
        let mut files = read(device, app);
        for _ in 0..count {
            let what = match dice.below(5) {
                0 => files.change_as_known(dice),
                1..=2 => files.change_one(dice),
                _ => files.change_setting(dice),
            };
            let stops = ["/State", "/HasBeen", "RestartPolicy"];
            self.may_stop |= stops.iter().any(|part| what.contains(part));
            self.what += &format!("[{what}] ");
        }
        self.write(app, &files);
    }

    /// Puts the version before back.
    fn older(&mut self, dice: &mut Dice, device: &Device, app: &App) {
        let mut files = read(device, app);
        files.go_back(&app.older);
        self.what += "[the version before] ";
        self.write(app, &files);
        let records = ["serials", "serials-copy"];
        for record in records.iter().take(dice.below(2)) {
            let directory = format!("/data/config/edge-docker/{record}");
            self.run(&directory, "rm -f $NAME*");
        }
    }

    fn write(&mut self, app: &App, files: &Files) {
        for (path, value) in [
            (app.record(), &files.record),
            (app.stored("config.v2.json"), &files.config),
            (app.stored("hostconfig.json"), &files.host),
        ] {
            self.written.push((path, value.to_string().into_bytes()));
        }
    }

    fn damage(&mut self, dice: &mut Dice, app: &App) {
        let (files, others) = (app.files(), &self.other);
        let at = dice.below(files.len());
        let [file, other] = [&files[at], &others[at]];
        self.what += &format!("[{file}] ");
        self.script += &format!("F={file} F_OTHER={other}\nmkdir -p $(dirname $F)\n");
        self.run("/data/docker", dice.pick::<&str>(scripts::DAMAGES));
    }

    /// Carries out the edit.
    pub fn apply(&self, device: &Device) {
        for (path, content) in &self.written {
            fs::write(device.path(path), content).unwrap();
        }
        device.good(&[
            "sh",
            "-c",
            &format!("{}{}", scripts::FUNCTIONS, self.script),
        ]);
    }
}

/// Returns assignments of the variables of scripts.
fn variables(own: &App, other: &App, dice: &mut Dice) -> String {
    let (number, new) = (dice.below(1 << 20), dice.below(1 << 20));
    let [own_id, other_id] = [own, other].map(|app| app.id.as_str());
    let name = |directory: &str| directory.rsplit('/').next().unwrap().to_string();
    let numbers = format!("RANDOM_NUMBER={number}\nNEW_ID={new:064x}\n");
    let directories = [
        ("OWN", &own.own),
        ("OTHER_OWN", &other.own),
        ("LAYER", &own.layer),
        ("OTHER_LAYER", &other.layer),
    ];
    let directories = directories.map(|(variable, path)| format!("{variable}={}\n", name(path)));
    format!(
        "ID={own_id} OTHER_ID={other_id} NAME={}\nSTORED={}\nRECORD={} METADATA={}\n\
         OTHER_METADATA={}\n{}{numbers}",
        own.name,
        own.stored(""),
        own.record(),
        own.metadata,
        other.metadata,
        directories.concat(),
    )
}

fn read(device: &Device, app: &App) -> Files {
    let read = |path: String| fs::read(device.path(&path.replacen("/data", "/copy", 1))).unwrap();
    let stored = ["config.v2.json", "hostconfig.json"].map(|file| app.stored(file));
    let [config, host] = stored.map(read);
    Files::parse(&read(app.record()), &config, &host)
}
