//! What `--help` prints.

use anyhow::Result;

const HELP: &str = "\
Docker for what this device's policy permits: signed images of the team's
repository, and sandbox images where the image of the device allows them.

Usage: edge-docker COMMAND [OPTIONS] [ARGUMENTS]

Commands:
  pull IMAGE               Verify the signature, then pull by digest; with
                           --username NAME --password-stdin for this pull only
  run, create IMAGE ...    Make a container of a verified image, or of a
                           sandbox/APP image; run starts it
  explain IMAGE | run ...  Who signed it, what it may do, what would be sent
  replace NAME [--timeout SECS] [OPTIONS] IMAGE ...
                           Run it in the place of NAME; unless it is healthy
                           within SECS (120), NAME as it was comes back
  rollback NAME [--timeout SECS]
                           Back to the container before, under the same rules
  replace --status [NAME]  The last switches, as JSON
  replace --recover        Finish switches that a power cut interrupted
  start, stop, restart, kill, pause, unpause, wait, rm, exec
                           Containers that edge-docker made
  ps, logs, top, stats, port, inspect, diff, images, history, rmi, version,
  info, system df|info|prune
                           As docker's own, with short lists of options
  login, logout, push      The one repository
  build -t sandbox/APP -   Build a sandbox image, context from standard input
  load                     Load sandbox images from standard input, plain,
                           gzip or zstd
  sync APP                 Put files of a tar into /data/sandbox/APP; .wh.NAME
                           takes NAME away; archives may follow one another
  tag                      From sandbox/APP to sandbox/APP
  fsck [APP]               Are the layers on this device those that were signed?

Rules of run:
  IMAGE     REPOSITORY:TAG or REPOSITORY@DIGEST of the one repository, signed;
            or sandbox/APP[:TAG] if the policy allows it
  -v SRC:DST[:ro]
            SRC is /data/apps/APP or lies below it, /data/sandbox/APP for a
            sandbox; APP is what the signature says
  --grant NAME
            All that this board gives for a grant that the signer states;
            --device, --gpus, --runtime, --cap-add, --sysctl and --network host
            ask for parts of it
  --allow-downgrade
            Take a version whose serial is lower than one accepted here; it is
            logged, and holds for that version alone. pull takes it too
  Refused   the rest, each with its reason: --privileged, --pid, ...

Exit codes: 0 done; 125 refused by the policy, or the engine's error; 124 the
registry does not tell whether the image is signed; 123 the new container does
not work and the old one is back; 122 it does not work and there is none to go
back to, or going back is still to be done; 3 fsck found a layer that is not
what was signed; 2 wrong usage; 1 failed; 127 and 126 no such command, or none
that can be run; else the container's own, as docker's.

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
