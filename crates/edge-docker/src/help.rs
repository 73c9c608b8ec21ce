//! What `--help` prints.

use anyhow::Result;

const HELP: &str = "\
Docker for what this device's policy permits: signed images of the team's
repository, and sandbox images where the image of the device allows them.

Usage: edge-docker COMMAND [OPTIONS] [ARGUMENTS]

Commands:
  pull IMAGE               Verify the signature, then pull by digest
  run [OPTIONS] IMAGE ...  Run a verified image, or a sandbox/APP image
  login, logout            Keep or drop credentials of the one repository
  push IMAGE               Push to the one repository
  build -t sandbox/APP -   Build a sandbox image, context from standard input
  load                     Load sandbox images from standard input
  tag, images, rmi         Sandbox names; images of the engine
  ps, logs, exec, stop, rm, inspect, system df|info|prune
                           As docker's own, with short lists of options

Rules of run:
  IMAGE     REPOSITORY:TAG or REPOSITORY@DIGEST of the one repository, signed;
            or sandbox/APP[:TAG] if the policy allows it
  -v SRC:DST[:ro]
            SRC is exactly /data/apps/APP, or /data/sandbox/APP for a sandbox;
            APP is what the signature says
  Refused   everything that is not on the list: --privileged, --device,
            --cap-add, --network host, --pid, --volumes-from, ...

Exit codes: 0 done; 125 refused by the policy, or the engine's error; 124 the
registry does not tell whether the image is signed; 2 wrong usage; 1 failed;
else the container's own, as docker's.

Example: edge-docker run -d --name hello -p 8080:8080 \\
           -v /data/apps/hello:/data REPOSITORY:hello-v1
";

/// Prints the help.
pub fn print() -> Result<()> {
    print!("{HELP}");
    Ok(())
}

/// Prints the version.
pub fn version() -> Result<()> {
    println!("edge-docker {}", env!("CARGO_PKG_VERSION"));
    Ok(())
}
