//! Small virtual machine that runs one program: for what the kernel of this machine may
//! lack, such as device mapper. It has no disk, no network and no init system.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::vm::{base, machine};

/// Time after which a virtual machine is ended.
const LIMIT: Duration = Duration::from_secs(400);
/// File that exists in the virtual machine only.
const MARK: &str = "/etc/edge-guest";
/// First program: mounts what a program expects, and runs the one of `/command`.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
ifconfig lo 127.0.0.1 up
for module in $(cat /modules/order); do insmod /modules/$module.ko; done
sh /command
echo guest: exit $?
poweroff -f
";

/// Files of the virtual machine.
pub struct Guest {
    directory: TempDir,
}

impl Guest {
    /// Prepares a virtual machine with programs, given by their path here and there, the
    /// libraries of these, and modules of its kernel in the order in which they are loaded.
    /// `/tmp` and `/run` are empty there.
    ///
    /// # Panics
    /// If a file is missing.
    pub fn new(programs: &[(&Path, &str)], modules: &[&str]) -> Self {
        let guest = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        for directory in ["bin", "dev", "proc", "sys", "tmp", "run", "modules"] {
            fs::create_dir_all(guest.path(directory)).unwrap();
        }
        guest.put("init", INIT);
        guest.put(MARK, "");
        guest.put(
            "etc/passwd",
            "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
        );
        guest.put("etc/group", "root:x:0:\nnogroup:x:65534:\n");
        guest.copy(Path::new("/usr/bin/busybox"), "bin/busybox");
        for (program, place) in programs {
            guest.copy(program, place);
            let (_, list) = super::run(Command::new("ldd").arg(program));
            let libraries = list.split_whitespace().filter(|w| w.starts_with('/'));
            for library in libraries {
                guest.copy(Path::new(library), library);
            }
        }
        guest.modules(modules);
        guest
    }

    /// Returns whether this process runs in such a virtual machine.
    pub fn is_here() -> bool {
        Path::new(MARK).exists()
    }

    /// Returns the place of a file of the virtual machine.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.directory
            .path()
            .join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Writes an executable file.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn put(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Copies a file of this machine.
    ///
    /// # Panics
    /// If it cannot be copied.
    pub fn copy(&self, from: &Path, to: impl AsRef<Path>) {
        let to = self.path(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
    }

    fn modules(&self, modules: &[&str]) {
        let base = base::get().unwrap();
        let work = tempfile::tempdir().unwrap();
        let dump = format!("rdump /usr/lib/modules {}", work.path().display());
        super::run(Command::new("debugfs").args(["-R", &dump]).arg(&base.image));
        let (_, found) = super::run(
            Command::new("find")
                .arg(work.path())
                .args(["-name", "*.ko"]),
        );
        let mut order = String::new();
        for module in modules {
            let end = format!("/{module}.ko");
            // Absent: the kernel has it built in.
            if let Some(path) = found.lines().find(|l| l.ends_with(&end)) {
                self.copy(Path::new(path), format!("modules/{module}.ko"));
                order += &format!("{module}\n");
            }
        }
        self.put("modules/order", &order);
    }

    /// Runs a shell command; returns its exit code and the output of the console.
    ///
    /// # Panics
    /// If the virtual machine does not start or does not end.
    pub fn run(&self, command: &str) -> (i32, String) {
        self.put("command", command);
        let base = base::get().unwrap();
        let initrd = tempfile::NamedTempFile::new().unwrap();
        let pack = "cd \"$1\" && find . | busybox cpio -o -H newc 2>/dev/null >\"$2\"";
        let (code, text) = super::run(
            Command::new("sh")
                .args(["-c", pack, "pack"])
                .args([self.directory.path(), initrd.path()]),
        );
        assert_eq!(code, 0, "{text}");
        let mut qemu =
            machine::from_memory(&base, initrd.path(), "console=ttyS0 quiet panic=-1").unwrap();
        let mut child = qemu
            .args(["-m", "768", "-smp", "2", "-serial", "stdio", "-no-reboot"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut output = child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = output.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let end = Instant::now() + LIMIT;
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > end {
                child.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let text = reader.join().unwrap();
        let code = text
            .lines()
            .find_map(|l| l.trim().strip_prefix("guest: exit "));
        let code = code.and_then(|c| c.parse().ok());
        (code.unwrap_or_else(|| panic!("no end: {text}")), text)
    }
}
