//! The virtual machine: QEMU with KVM where it works, else without.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edge_common::{Root, file, log};

use super::base::Base;
use crate::process::{Process, cache, find, going_on};

/// How long a kernel may take for its first line where KVM works.
const FIRST_LINE: Duration = Duration::from_secs(8);
/// How long SSH may take to answer.
const BOOT: Duration = Duration::from_secs(150);
/// How long the machine may take to power off.
const POWER_OFF: Duration = Duration::from_secs(90);
const KERNEL: &str = "root=/dev/nvme0n1p1 ro rootfstype=ext4 console=ttyS0 apparmor=0 \
    mitigations=off systemd.journald.forward_to_console=1 panic=-1";

/// Starts the machine and waits until its SSH server answers on `port`.
///
/// # Errors
/// QEMU failing; no answer in time, with the console's end.
pub fn start(dir: &Path, base: &Base, port: u16) -> Result<()> {
    let kvm = kvm_works(base)?;
    log::info(if kvm {
        "booting with KVM"
    } else {
        "booting without KVM (it is not there or does not work): about a minute"
    });
    let console = dir.join("console.log");
    let mut qemu = qemu(base, kvm, KERNEL)?;
    qemu.args(["-smp", "2", "-m", "1024", "-serial"])
        .arg(format!("file:{}", console.display()))
        .arg("-qmp")
        .arg(format!("unix:{},server=on,wait=off", socket(dir).display()))
        .arg("-drive")
        .arg(format!(
            "file={},if=none,id=disk,format=raw,discard=unmap",
            dir.join("disk.img").display()
        ))
        .args(["-device", "nvme,serial=edge-vm,drive=disk"])
        .args(["-device", "virtio-rng-pci", "-netdev"])
        .arg(format!("user,id=net,hostfwd=tcp:127.0.0.1:{port}-:22"))
        .args(["-device", "virtio-net-pci,netdev=net"]);
    let log = fs::File::create(dir.join("qemu.log")).context("making a log")?;
    let mut child = qemu
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("making a log")?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("starting QEMU")?;
    let process = Process::of(child.id())?;
    let note = serde_json::to_vec(&process)?;
    let result = file::write(&pid_file(dir), &note, 0o600)
        .and_then(|()| wait_for_ssh(port, || Ok(child.try_wait()?.is_some())));
    if result.is_err() {
        process.kill();
        let _ = fs::remove_file(pid_file(dir));
    }
    result.with_context(|| {
        let said = fs::read(dir.join("qemu.log")).unwrap_or_default();
        let said = String::from_utf8_lossy(&said).trim().to_string();
        format!("booting; see {} {said}", console.display())
    })
}

/// A QEMU command for the base's kernel: no devices, no display.
fn qemu(base: &Base, kvm: bool, words: &str) -> Result<Command> {
    let mut command = Root::system().command(find("qemu-system-x86_64")?);
    command.args(["-nodefaults", "-display", "none", "-machine", "q35"]);
    command.args(if kvm {
        ["-accel", "kvm", "-cpu", "host"]
    } else {
        ["-accel", "tcg,thread=multi", "-cpu", "max"]
    });
    command.arg("-kernel").arg(&base.kernel);
    command.arg("-initrd").arg(&base.initrd);
    command.args(["-append", words]);
    Ok(command)
}

/// Tries KVM once for each boot of this machine: where it is nested it may be
/// present and yet no guest gets to its first line.
fn kvm_works(base: &Base) -> Result<bool> {
    if fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_err()
    {
        return Ok(false);
    }
    let boot = file::read_text(Path::new("/proc/sys/kernel/random/boot_id"), 64)?;
    let note = cache().join("vm").join(format!("kvm-{}", boot.trim()));
    if let Ok(known) = file::read_text(&note, 16) {
        return Ok(known == "works");
    }
    let mut command = qemu(base, true, "console=ttyS0 earlyprintk=ttyS0")?;
    command.args(["-serial", "stdio", "-no-reboot"]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("starting QEMU")?;
    let output = child.stdout.take().context("standard output")?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let line = BufReader::new(output).lines().map_while(Result::ok);
        // The receiver is gone once the time is over.
        let _ = sender.send({ line }.any(|l| l.contains("Linux version")));
    });
    let works = receiver.recv_timeout(FIRST_LINE).unwrap_or(false);
    child.kill().context("ending QEMU")?;
    child.wait().context("ending QEMU")?;
    file::write(&note, if works { b"works" } else { b"fails" }, 0o644)?;
    Ok(works)
}

/// QEMU's port is open from the start: only the server's greeting counts.
fn wait_for_ssh(port: u16, mut ended: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < BOOT {
        going_on()?;
        if ended()? {
            bail!("QEMU ended");
        }
        if greeting(port).is_ok_and(|g| g == *b"SSH-") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    bail!("SSH does not answer after {} s", BOOT.as_secs())
}

fn greeting(port: u16) -> Result<[u8; 4]> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("qmp.sock")
}

fn pid_file(dir: &Path) -> PathBuf {
    dir.join("qemu.json")
}

fn process(dir: &Path) -> Option<Process> {
    let text = file::read(&pid_file(dir), 1024).ok()?;
    let process: Process = serde_json::from_slice(&text).ok()?;
    process.alive().then_some(process)
}

/// Does it run?
pub fn running(dir: &Path) -> bool {
    process(dir).is_some()
}

/// Presses the power button and waits; with `at_once`, cuts the power.
///
/// # Errors
/// It does not end.
pub fn stop(dir: &Path, at_once: bool) -> Result<()> {
    let Some(process) = process(dir) else {
        return Ok(());
    };
    if !at_once {
        log::info("powering off");
        press(dir)?;
        if !process.ended(POWER_OFF) {
            log::warn("it does not power off: cutting the power");
        }
    }
    process.kill();
    if !process.ended(Duration::from_secs(10)) {
        bail!("QEMU does not end");
    }
    fs::remove_file(pid_file(dir)).context("removing the note of the process")
}

/// QEMU machine protocol: greeting, handshake, command.
fn press(dir: &Path) -> Result<()> {
    let mut stream = UnixStream::connect(socket(dir)).context("reaching QEMU")?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    for words in ["qmp_capabilities", "system_powerdown"] {
        lines.next().context("QEMU closed its socket")??;
        writeln!(stream, "{{\"execute\":\"{words}\"}}")?;
    }
    lines.next().context("QEMU closed its socket")??;
    Ok(())
}
