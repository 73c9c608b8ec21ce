//! Start and stop of QEMU, the virtual machine of the test VM, with KVM where KVM
//! works.

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
use crate::host::{cache, find};
use crate::process::Process;
use crate::signals;

/// Time in which a kernel prints its first line if KVM works.
const FIRST_LINE_TIMEOUT: Duration = Duration::from_secs(8);
/// Time in which the SSH server must answer after the start of QEMU: several times that of
/// an emulated boot, because tests share their machine.
const BOOT_TIMEOUT: Duration = Duration::from_secs(400);
/// Time in which the test VM must power off before QEMU is killed.
const POWER_OFF_TIMEOUT: Duration = Duration::from_secs(90);
/// Kernel command line of the test VM.
const KERNEL_ARGS: &str = "root=/dev/nvme0n1p1 ro rootfstype=ext4 console=ttyS0 apparmor=0 \
    mitigations=off systemd.journald.forward_to_console=1 panic=-1";

/// Starts the test VM and waits until its SSH server answers on `port` of
/// 127.0.0.1. Its clock begins at `clock`, or at the time of this machine.
pub(crate) fn start(dir: &Path, base: &Base, port: u16, clock: Option<&str>) -> Result<()> {
    let kvm = kvm_works(base)?;
    log::info(if kvm {
        "booting with KVM"
    } else {
        "booting without KVM, which is missing or does not work: about a minute"
    });
    let console = dir.join("console.log");
    let mut qemu = qemu(base, kvm, KERNEL_ARGS)?;
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
    if let Some(clock) = clock {
        qemu.args(["-rtc", &format!("base={clock}")]);
    }
    let log = fs::File::create(dir.join("qemu.log")).context("creating a log")?;
    let mut child = qemu
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("creating a log")?)
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
        let log = fs::read(dir.join("qemu.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).trim().to_string();
        format!("booting; see {} {log}", console.display())
    })
}

/// Returns the command of a QEMU that boots the kernel of the base system, without
/// devices and display.
fn qemu(base: &Base, kvm: bool, kernel_args: &str) -> Result<Command> {
    let mut command = Root::system().command(find("qemu-system-x86_64")?);
    command.args(["-nodefaults", "-display", "none", "-machine", "q35"]);
    // With `-cpu max` QEMU emulates what later processors added, and a boot takes a
    // third more processor time. Nehalem has all that the distribution requires.
    command.args(if kvm {
        ["-accel", "kvm", "-cpu", "host"]
    } else {
        ["-accel", "tcg,thread=multi", "-cpu", "Nehalem"]
    });
    command.arg("-kernel").arg(&base.kernel);
    command.arg("-initrd").arg(&base.initrd);
    command.args(["-append", kernel_args]);
    Ok(command)
}

/// Returns whether a kernel boots with KVM, tested once for each boot of this
/// machine: in nested virtualization `/dev/kvm` can exist although no guest boots.
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
    let record = cache().join("vm").join(format!("kvm-{}", boot.trim()));
    if let Ok(known) = file::read_text(&record, 16) {
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
        // The send fails after the timeout, when the receiver no longer exists.
        let _ = sender.send({ line }.any(|l| l.contains("Linux version")));
    });
    let works = receiver.recv_timeout(FIRST_LINE_TIMEOUT).unwrap_or(false);
    child.kill().context("ending QEMU")?;
    child.wait().context("ending QEMU")?;
    file::write(&record, if works { b"works" } else { b"fails" }, 0o644)?;
    Ok(works)
}

/// Waits for the greeting of the SSH server. An open port is not sufficient: QEMU
/// opens the port before the guest boots.
fn wait_for_ssh(port: u16, mut ended: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < BOOT_TIMEOUT {
        signals::check()?;
        if ended()? {
            bail!("QEMU ended early");
        }
        if greeting(port).is_ok_and(|g| g == *b"SSH-") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    bail!("SSH does not answer after {} s", BOOT_TIMEOUT.as_secs())
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

/// Returns whether the QEMU process of the test VM in `dir` runs.
pub(crate) fn running(dir: &Path) -> bool {
    process(dir).is_some()
}

/// Presses the power button of the test VM and waits until it is off. Kills QEMU
/// after a timeout or, with `cut`, at once.
pub(crate) fn stop(dir: &Path, cut: bool) -> Result<()> {
    let Some(process) = process(dir) else {
        return Ok(());
    };
    if !cut {
        log::info("powering off");
        press_power_button(dir)?;
        if !process.ended(POWER_OFF_TIMEOUT) {
            log::warn("it does not power off: cutting the power");
        }
    }
    process.kill();
    if !process.ended(Duration::from_secs(10)) {
        bail!("QEMU does not end");
    }
    fs::remove_file(pid_file(dir)).context("removing the record of the process")
}

/// Sends `system_powerdown` by the QEMU machine protocol (QMP), after the greeting
/// and the handshake.
fn press_power_button(dir: &Path) -> Result<()> {
    let mut stream = UnixStream::connect(socket(dir)).context("connecting to QEMU")?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    for command in ["qmp_capabilities", "system_powerdown"] {
        lines.next().context("QEMU closed its socket")??;
        writeln!(stream, "{{\"execute\":\"{command}\"}}")?;
    }
    lines.next().context("QEMU closed its socket")??;
    Ok(())
}
