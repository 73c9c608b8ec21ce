//! Layers edited on disk: found by what the engine reads, and by what it does not.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod device;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use device::Device;
use device::image::Image;

#[test]
fn layers_are_proved() {
    let mut device = Device::start();
    device.start_engine();
    let image = device.image("foo", 3 << 20);
    let honest = "foo v1: 2 layers as signed";
    assert_eq!(device.good(&["edge-docker", "fsck"]), honest);
    assert_eq!(device.good(&["edge-docker", "fsck", "foo"]), honest);
    assert_eq!(device.bad(&["edge-docker", "fsck", "bar"]).0, 125);
    let form = "{{.GraphDriver.Data.UpperDir}}:{{.GraphDriver.Data.LowerDir}}";
    let directories = device.good(&["docker", "inspect", "-f", form, &image.id]);
    let directories: Vec<_> = directories.split(':').map(|f| device.path(f)).collect();
    let proof = Proof {
        device: &device,
        image: &image,
        top: directories[0].clone(),
        bottom: directories[1].clone(),
    };
    proof.contents();
    proof.modes_and_owners();
    proof.names();
    assert_eq!(device.good(&["edge-docker", "fsck", "foo"]), honest);
    fs::remove_file(proof.bottom.join("bin/ls")).unwrap();
    proof.caught(1, "bin/ls");
}

struct Proof<'a> {
    device: &'a Device,
    image: &'a Image,
    /// Directories of the layers.
    top: PathBuf,
    bottom: PathBuf,
}

impl Proof<'_> {
    fn caught(&self, layer: usize, what: &str) {
        let (code, output) = self.device.bad(&["edge-docker", "fsck", "foo"]);
        assert_eq!(code, 3, "{what}: {output}");
        let line = format!("layer {layer} of 2 ({})", self.image.layers[layer - 1]);
        assert!(
            output.contains(&line) && output.contains(what),
            "{what}: {output}"
        );
    }

    /// The engine itself stumbles over these.
    fn contents(&self) {
        for (layer, directory, file) in
            [(1, &self.bottom, "bin/sleep"), (2, &self.top, "data/part0")]
        {
            let path = directory.join(file);
            let original = fs::read(&path).unwrap();
            let mut changed = original.clone();
            changed[1000] ^= 1;
            fs::write(&path, changed).unwrap();
            self.caught(layer, file);
            fs::write(&path, original).unwrap();
        }
    }

    /// It does not look at these.
    fn modes_and_owners(&self) {
        let sleep = self.bottom.join("bin/sleep");
        fs::set_permissions(&sleep, Permissions::from_mode(0o4755)).unwrap();
        self.caught(1, "the mode of /bin/sleep");
        fs::set_permissions(&sleep, Permissions::from_mode(0o755)).unwrap();
        chown(&sleep, Some(7), None).unwrap();
        self.caught(1, "the owner of /bin/sleep");
        chown(&sleep, Some(0), None).unwrap();
        fs::set_permissions(&sleep, Permissions::from_mode(0o755)).unwrap();
    }

    /// Nor at these: what was added, where links lead, what is hidden.
    fn names(&self) {
        let added = self.bottom.join("bin/added");
        fs::write(&added, "x").unwrap();
        self.caught(1, "/bin/added was added");
        fs::remove_file(&added).unwrap();
        let link = self.top.join("etc/app.link");
        fs::remove_file(&link).unwrap();
        symlink("/data/x", &link).unwrap();
        self.caught(2, "the target of /etc/app.link");
        fs::remove_file(&link).unwrap();
        symlink("app.conf", &link).unwrap();
        let hidden = self.top.join("bin/cat");
        fs::remove_file(&hidden).unwrap();
        self.caught(2, "/bin/cat is not removed");
        self.device
            .good(&["mknod", &in_device(&hidden), "c", "0", "0"]);
        let etc = in_device(&self.top.join("etc"));
        let attribute = |call: &str| {
            let script = format!("import os; os.{call}");
            self.device.good(&["python3", "-c", &script]);
        };
        attribute(&format!(
            "setxattr('{etc}', 'trusted.overlay.opaque', b'y')"
        ));
        self.caught(2, "/etc hides what lies below");
        attribute(&format!("removexattr('{etc}', 'trusted.overlay.opaque')"));
    }
}

/// The path as the device has it.
fn in_device(path: &Path) -> String {
    let parts: Vec<_> = path.iter().skip(4).map(|p| p.to_string_lossy()).collect();
    format!("/{}", parts.join("/"))
}
