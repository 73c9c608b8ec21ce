//! Power losses of the test VM at moments of its first boots and its provisioning.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::demo::{World, until};
use crate::shell;

/// What the console shows when a moment has come that is worth a cut.
const MOMENTS: [&str; 10] = [
    "systemd[1]: Starting",
    "Prepare the data partition",
    "formatting /dev",
    "formatted /dev",
    "Data partition",
    "Prepare /data",
    "Provision the device identity",
    "provisioning edge-ai-",
    "provisioned as edge-ai-",
    "the device is provisioned",
];
/// How long a moment is waited for; then the cut comes anyway.
const PATIENCE: Duration = Duration::from_secs(150);
/// What the device must say after the boot that follows a cut.
const WELL: &str = "set -e
edge-provision status
findmnt -no FSTYPE,OPTIONS /data | grep -q '^ext4 *rw'
cat /sys/fs/ext4/*/errors_count | grep -v '^0$' && exit 1
journalctl -kb --no-pager | grep 'EXT4-fs error' && exit 1
grep -L '\"result\":\"ok\"' /data/log/boot/*.json | grep . && exit 1
stat -c %a /data/config/aws-iot/private.key | grep -q '^600$'
ls -A /data/config/aws-iot";

/// Cuts the power `count` times.
///
/// # Errors
/// The first device that did not come back as it should.
pub(crate) fn run(count: u32, seed: Option<u64>) -> Result<()> {
    let world = World::new()?;
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) << 16 | 0x5eed);
    let mut random = Random(seed);
    println!("power cuts: {count}, seed {seed}");
    shell::run(shell::cargo().args(["build", "--quiet", "--release"]))?;
    shell::run(shell::cargo().args(["build", "--quiet", "-p", "edge-sim"]))?;
    shell::read(world.part("cloud", "up").arg("--no-aws"))?;
    let mut build = world.part("vm", "build");
    build.arg("--cloud").arg(world.path("cloud"));
    shell::read(build.arg("--bin-dir").arg(world.programs()))?;
    let mut kept = None;
    for number in 1..=count {
        shell::going_on()?;
        // Every other cut hits a device that holds data already.
        if number % 2 == 1 {
            factory(&world)?;
            kept = None;
        }
        let start = Instant::now();
        let moment = cut(&world, &mut random)?;
        let result = heals(&world, kept.as_deref(), number);
        if result.is_err() {
            world.explain();
        }
        kept = Some(result.with_context(|| format!("cut {number}, {moment}"))?);
        let seconds = start.elapsed().as_secs();
        println!("{number:>4}  {moment}: provisioned, clean, nothing lost; {seconds} s");
    }
    shell::read(&mut world.part("vm", "stop"))?;
    clean(&world)?;
    println!("{count} power cuts: every following boot ended provisioned");
    Ok(())
}

/// As it leaves the factory, and welcome in the cloud again.
fn factory(world: &World) -> Result<()> {
    shell::read(world.part("vm", "stop").arg("--kill"))?;
    shell::read(&mut world.part("vm", "reset"))?;
    let serial = world.vm("serial")?;
    shell::read(world.part("cloud", "allow").arg("--again").arg(serial))?;
    Ok(())
}

/// Boots and cuts the power a moment after something was seen.
fn cut(world: &World, random: &mut Random) -> Result<String> {
    shell::read(world.part("vm", "stop").arg("--kill"))?;
    let console = world.path("vm/console.log");
    let _ = fs::remove_file(&console);
    let mut up = world.part("vm", "up");
    let said = world.path("up.log");
    up.stdout(Stdio::null()).stderr(fs::File::create(&said)?);
    let mut child = up.spawn()?;
    let words = MOMENTS[random.below(MOMENTS.len())];
    let delay = Duration::from_millis(u64::try_from(random.below(2500))?);
    let start = Instant::now();
    let seen = wait(&mut child, &console, words);
    let seen = seen.with_context(|| fs::read_to_string(&said).unwrap_or_default())?;
    std::thread::sleep(delay);
    let at = start.elapsed().as_secs_f32();
    // Who waits for SSH then sees that the machine is gone, and says so.
    let _ = shell::output(world.part("vm", "stop").arg("--kill"))?;
    child.wait()?;
    let late = if seen { "" } else { " (not seen)" };
    Ok(format!(
        "cut at {at:.1} s, {} ms after {words:?}{late}",
        delay.as_millis()
    ))
}

/// Waits until the console shows `words`; false if it does not.
fn wait(child: &mut Child, console: &Path, words: &str) -> Result<bool> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        shell::going_on()?;
        let text = fs::read(console).unwrap_or_default();
        if String::from_utf8_lossy(&text).contains(words) {
            return Ok(true);
        }
        if let Some(status) = child.try_wait()? {
            // It is up, and does not say these words in this boot.
            ensure!(status.success(), "the twin does not boot: {status}");
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(false)
}

/// Boots, and looks at everything; gives what was left on the device.
fn heals(world: &World, kept: Option<&str>, number: u32) -> Result<String> {
    shell::read(&mut world.part("vm", "up"))?;
    until(Duration::from_secs(180), "provisioned", || {
        let out = world.root("cat /data/.provisioned");
        Ok(out.ok().filter(|t| !t.trim().is_empty()))
    })?;
    world.root(WELL).context("not as it should be")?;
    if let Some(kept) = kept {
        let found = world.root("cat /data/apps/kept; sha256sum /data/config/aws-iot/*")?;
        ensure!(found == kept, "data were lost: {found} instead of {kept}");
    }
    world.root(&format!(
        "(echo {number}; head -c 300000 /dev/urandom | base64) > /data/apps/kept && sync"
    ))?;
    world.root("cat /data/apps/kept; sha256sum /data/config/aws-iot/*")
}

/// A full check of the data partition from outside.
fn clean(world: &World) -> Result<()> {
    let disk = world.path("vm/disk.img");
    let table = shell::read(shell::command("sfdisk").arg("--json").arg(&disk))?;
    let table: Value = serde_json::from_str(&table).context("parsing the partition table")?;
    let partitions = table["partitiontable"]["partitions"].as_array();
    let data = partitions.and_then(|p| p.iter().find(|p| p["name"] == "DATA"));
    let start = data.and_then(|p| p["start"].as_u64()).context("no DATA")?;
    let place = format!("{}?offset={}", disk.display(), start * 512);
    let checked = shell::output(shell::command("e2fsck").args(["-f", "-n"]).arg(place))?;
    if !checked.status.success() {
        bail!("the file system is not clean: {}", shell::said(&checked));
    }
    Ok(())
}

/// Reproducible from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap_or(0)
    }
}
