//! Test of power losses: cuts the power of the test VM during its first boots and its
//! provisioning, and checks the device after the next boot.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::demo::{Testbed, until};
use crate::shell;

/// Texts on the VM's console after which the power is cut. Each appears during an
/// operation that must survive a power loss.
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
/// Time limit for the text to appear on the console; after it the power is cut anyway.
const MAX_WAIT: Duration = Duration::from_secs(150);
/// Shell script that checks the device after the boot that follows a power loss.
const HEALTHY: &str = "set -e
edge-provision status
findmnt -no FSTYPE,OPTIONS /data | grep -q '^ext4 *rw'
cat /sys/fs/ext4/*/errors_count | grep -v '^0$' && exit 1
journalctl -kb --no-pager | grep 'EXT4-fs error' && exit 1
grep -L '\"result\":\"ok\"' /data/log/boot/*.json | grep . && exit 1
stat -c %a /data/config/aws-iot/private.key | grep -q '^600$'
ls -A /data/config/aws-iot";

/// Cuts the power `count` times at pseudo-random moments; the first device that does not
/// recover is an error.
pub(crate) fn run(count: u32, seed: Option<u64>) -> Result<()> {
    let testbed = Testbed::new(true)?;
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) << 16 | 0x5eed);
    let mut random = Random(seed);
    println!("power losses: {count}, seed {seed}");
    shell::run(shell::cargo().args(["build", "--quiet", "--release"]))?;
    let sim = ["build", "--quiet", "--workspace", "--bin=edge-sim"];
    shell::run(shell::cargo().args(sim))?;
    shell::read(testbed.part("cloud", "up").arg("--no-aws"))?;
    let mut build = testbed.part("vm", "build");
    build.arg("--cloud").arg(testbed.path("cloud"));
    shell::read(build.arg("--bin-dir").arg(testbed.programs()))?;
    let mut kept = None;
    for number in 1..=count {
        shell::going_on()?;
        // Only every second power loss follows a factory reset; the others hit a device
        // that has data already.
        if number % 2 == 1 {
            factory_reset(&testbed)?;
            kept = None;
        }
        let start = Instant::now();
        let moment = power_loss(&testbed, &mut random)?;
        let result = recovered(&testbed, kept.as_deref(), number);
        if result.is_err() {
            testbed.explain();
        }
        kept = Some(result.with_context(|| format!("power loss {number}, {moment}"))?);
        let seconds = start.elapsed().as_secs();
        println!("{number:>4}  {moment}: provisioned, healthy, no data lost; {seconds} s");
    }
    shell::read(&mut testbed.part("vm", "stop"))?;
    clean(&testbed)?;
    println!("{count} power losses: every following boot ended provisioned");
    Ok(())
}

/// Resets the test VM to its factory state with an empty data partition, and allows its
/// serial number to provision again.
fn factory_reset(testbed: &Testbed) -> Result<()> {
    shell::read(testbed.part("vm", "stop").arg("--kill"))?;
    shell::read(&mut testbed.part("vm", "reset"))?;
    let serial = testbed.vm("serial")?;
    shell::read(testbed.part("cloud", "allow").arg("--again").arg(serial))?;
    Ok(())
}

/// Boots the test VM and cuts the power up to 2.5 s after a randomly chosen console text;
/// returns a description of the moment.
fn power_loss(testbed: &Testbed, random: &mut Random) -> Result<String> {
    shell::read(testbed.part("vm", "stop").arg("--kill"))?;
    let console = testbed.path("vm/console.log");
    let _ = fs::remove_file(&console);
    let mut up = testbed.part("vm", "up");
    let log = testbed.path("up.log");
    up.stdout(Stdio::null()).stderr(fs::File::create(&log)?);
    let mut child = up.spawn()?;
    let line = MOMENTS[random.below(MOMENTS.len())];
    let delay = Duration::from_millis(u64::try_from(random.below(2500))?);
    let start = Instant::now();
    let seen = wait(&mut child, &console, line);
    let seen = seen.with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
    std::thread::sleep(delay);
    let at = start.elapsed().as_secs_f32();
    // `edge-sim vm up` still waits for SSH; it ends when it detects that the VM has
    // stopped.
    let _ = shell::output(testbed.part("vm", "stop").arg("--kill"))?;
    child.wait()?;
    let late = if seen { "" } else { " (not seen)" };
    Ok(format!(
        "at {at:.1} s, {} ms after {line:?}{late}",
        delay.as_millis()
    ))
}

/// Waits until the console shows `line`; returns false after the time limit, or if the
/// boot completes without it.
fn wait(child: &mut Child, console: &Path, line: &str) -> Result<bool> {
    let start = Instant::now();
    while start.elapsed() < MAX_WAIT {
        shell::going_on()?;
        let text = fs::read(console).unwrap_or_default();
        if String::from_utf8_lossy(&text).contains(line) {
            return Ok(true);
        }
        if let Some(status) = child.try_wait()? {
            // `edge-sim vm up` has ended: if successfully, the boot completed without
            // printing the line.
            ensure!(status.success(), "the test VM does not boot: {status}");
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(false)
}

/// Boots the test VM, asserts that the device is healthy and still has the data `kept`,
/// and returns its current data.
fn recovered(testbed: &Testbed, kept: Option<&str>, number: u32) -> Result<String> {
    shell::read(&mut testbed.part("vm", "up"))?;
    until(Duration::from_secs(180), "provisioned", || {
        let out = testbed.root("cat /data/.provisioned");
        Ok(out.ok().filter(|t| !t.trim().is_empty()))
    })?;
    testbed.root(HEALTHY).context("not healthy")?;
    if let Some(kept) = kept {
        let found = testbed.root("cat /data/apps/kept; sha256sum /data/config/aws-iot/*")?;
        ensure!(found == kept, "data were lost: {found} instead of {kept}");
    }
    testbed.root(&format!(
        "(echo {number}; head -c 300000 /dev/urandom | base64) > /data/apps/kept && sync"
    ))?;
    testbed.root("cat /data/apps/kept; sha256sum /data/config/aws-iot/*")
}

/// Checks the file system of the data partition in the disk image of the stopped VM.
fn clean(testbed: &Testbed) -> Result<()> {
    let disk = testbed.path("vm/disk.img");
    let table = shell::read(shell::command("sfdisk").arg("--json").arg(&disk))?;
    let table: Value = serde_json::from_str(&table).context("parsing the partition table")?;
    let partitions = table["partitiontable"]["partitions"].as_array();
    let data = partitions.and_then(|p| p.iter().find(|p| p["name"] == "DATA"));
    let start = data.and_then(|p| p["start"].as_u64()).context("no DATA")?;
    let partition = format!("{}?offset={}", disk.display(), start * 512);
    let checked = shell::output(shell::command("e2fsck").args(["-f", "-n"]).arg(partition))?;
    if !checked.status.success() {
        bail!("the file system is not clean: {}", shell::tail(&checked));
    }
    Ok(())
}

/// Pseudo-random numbers that can be reproduced with the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap_or(0)
    }
}
