//! Table of all commands of edge-docker, which the parser, the help pages and `docs/cli`
//! are based on.

use anyhow::Result;

use crate::cli::args::{flag, value};
use crate::cli::entry::Arguments::{self, Any, ContainerAnd, Containers, Count};
use crate::cli::entry::Entry;
use crate::cli::entry::Section::{Hidden, Images, Inspect, Manage, Run};
use crate::cli::ports;
use crate::refusal::refuse;

/// Command groups of docker that edge-docker accepts, for example in `container ls`.
// Other groups, such as `volume`, `network` and `plugin`, change objects that the policy
// does not judge.
const GROUPS: [&str; 3] = ["container", "image", "system"];

/// Declares each command together with its table entry, so that no command lacks one.
macro_rules! commands {
    ($($(#[$doc:meta])* $command:ident = $entry:expr;)*) => {
        /// Command of edge-docker, for example `run` or `pull`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Command {
            $($(#[$doc])* $command,)*
        }

        impl Command {
            /// All commands, in the order of the help page.
            pub(crate) const ALL: &[Self] = &[$(Self::$command),*];

            /// Returns the table entry of the command: names, options, arguments and help
            /// text.
            pub const fn entry(self) -> &'static Entry {
                match self {
                    $(Self::$command => {
                        const ENTRY: Entry = $entry;
                        &ENTRY
                    })*
                }
            }
        }
    };
}

commands! {
    /// Creates and starts a container; attaches to it unless `--detach` is given.
    Run = Entry::own("run", Run, &[
        ("run [OPTIONS] IMAGE ...", "Run a container of a verified or sandbox image"),
    ]).takes(Arguments::Raw).groups(&[("container", "run")]);
    /// Creates a container without starting it.
    Create = Entry::own("create", Run, &[
        ("create [OPTIONS] IMAGE ...", "Create a container without starting it"),
    ]).takes(Arguments::Raw).groups(&[("container", "create")]);
    /// Shows the signer and grants of an image, or the request that `run` would send.
    Explain = Entry::own("explain", Run, &[
        ("explain IMAGE", "Show who signed an image and what it may do"),
        ("explain run ...", "Show what run would send to the engine"),
    ]).takes(Arguments::Raw).look();
    /// Deploys an image under a container name; rolls back if the new container does not
    /// become healthy.
    Replace = Entry::own("replace", Run, &[
        ("replace NAME [--timeout SECS] [OPTIONS] IMAGE ...",
            "Run an image in the place of NAME; unless it is healthy within SECS (120), \
             NAME as it was comes back. Changes nothing if the same version runs and works; \
             with --force it is replaced by a copy"),
        ("replace --set HEX APP-VERSION",
            "Run the version that a release set names, also if its release number is lower"),
        ("replace --check ...", "Say whether the policy permits it; no container changes"),
        ("replace --status [NAME ...]", "Print the last deployments as JSON"),
        ("replace --recover", "Finish deployments that a power loss interrupted"),
    ]).takes(Arguments::Raw);
    /// Returns to the container that the last deployment replaced.
    Rollback = Entry::own("rollback", Run, &[
        ("rollback NAME [--timeout SECS]",
            "Return to the previous container, under the same rules"),
    ]).takes(Arguments::Raw).operate();
    /// Runs a command in a container that edge-docker created.
    Exec = Entry::own("exec", Run, &[
        ("exec [OPTIONS] NAME COMMAND ...", "Run a command in a container"),
    ]).groups(&[("container", "exec")]).options(&[
        // `--privileged` is not listed because it adds all capabilities, and `--env-file`
        // because docker's client would read any file as root.
        flag('i', "interactive"), flag('t', "tty"), flag('d', "detach"),
        value('u', "user"), value('w', "workdir"), value('e', "env"),
    ]).options_first().takes(Count(2, usize::MAX, "a container and a command")).operate();
    /// Copies files between the mounts of an app and the caller.
    Copy = Entry::own("cp", Run, &[
        ("cp [-q] APP:PATH FILE", "Copy a file or directory out of the app's own mounts; FILE \
          `-` is a tar archive on standard output, APP:PATH/. the content of a directory"),
        ("cp [-q] FILE APP:PATH", "Copy into a mount of the app; FILE `-` is a tar archive on \
          standard input, which goes into the directory PATH"),
    ]).groups(&[("container", "cp")]).takes(Count(2, 2, "APP:PATH FILE, or FILE APP:PATH"))
        // `--archive` and `--follow-link` are not listed: the first would take owners from
        // an archive, the second would leave the mount.
        .options(&[flag('q', "quiet")]).operate();

    /// Starts existing containers after their images have been verified again.
    Start = Entry::client("start", Manage, &[("start NAME ...", "Start containers")])
        // `--checkpoint` is not listed: it would start from a memory dump that nobody
        // signed.
        .groups(&[("container", "start")]).takes(Containers)
        .options(&[flag('a', "attach"), flag('i', "interactive")]).operate();
    /// Stops running containers with their stop signal, and with SIGKILL after a timeout.
    Stop = Entry::client("stop", Manage, &[("stop NAME ...", "Stop containers")])
        .groups(&[("container", "stop")]).takes(Containers)
        .options(&[value('t', "time"), value('s', "signal")]).operate();
    /// Restarts containers after their images have been verified again.
    Restart = Entry::client("restart", Manage, &[("restart NAME ...", "Restart containers")])
        .groups(&[("container", "restart")]).takes(Containers)
        .options(&[value('t', "time"), value('s', "signal")]).operate();
    /// Sends a signal to containers, SIGKILL by default.
    Kill = Entry::client("kill", Manage, &[("kill NAME ...", "Send a signal, SIGKILL by default")])
        .groups(&[("container", "kill")]).takes(Containers).options(&[value('s', "signal")]).operate();
    /// Suspends all processes of containers, without a signal (cgroup freezer).
    Pause = Entry::client("pause", Manage, &[("pause NAME ...", "Pause all processes")])
        .groups(&[("container", "pause")]).takes(Containers).operate();
    /// Resumes paused containers after their images have been verified again.
    Unpause = Entry::client("unpause", Manage, &[("unpause NAME ...", "Continue paused processes")])
        .groups(&[("container", "unpause")]).takes(Containers).operate();
    /// Waits until containers end, and prints their exit codes.
    Wait = Entry::client("wait", Manage, &[("wait NAME ...", "Wait for the end, print exit codes")])
        .groups(&[("container", "wait")]).takes(Containers).look();
    /// Removes containers and, after that, their mount clones.
    Remove = Entry::client("rm", Manage, &[("rm [-f] NAME ...", "Remove containers")])
        .groups(&[("container", "rm"), ("container", "remove")]).takes(Containers)
        .options(&[flag('f', "force"), flag('v', "volumes")]).operate();

    /// Takes a signed break-glass ticket from standard input, shows it or ends it.
    Ticket = Entry::own("ticket", Manage, &[
        ("ticket", "Take the signed break-glass ticket on standard input"),
        ("ticket status [--json]", "Show the ticket in effect"),
        ("ticket end", "End the ticket: what was created under it is removed"),
        ("ticket wait", "Wait for the end of the ticket, then end it"),
    ]).takes(Count(0, 1, "status, end, wait, or a ticket on standard input"))
        .options(&[flag(' ', "json")]).look();

    /// Shows, tries and confirms the network settings of the device.
    Network = Entry::own("network", Manage, &[
        ("network show", "Show the network settings, without passwords, and the last trial"),
        ("network set", "Try the settings on standard input, JSON: the device returns to the \
          earlier ones if neither `network confirm` nor the cloud is reached within 120 s"),
        ("network confirm TOKEN", "Keep the settings on trial; over a new connection"),
    ]).takes(Count(1, 2, "show, set or confirm TOKEN")).operate();

    /// Takes, shows and commits release sets.
    Set = Entry::own("set", Manage, &[
        ("set take REPOSITORY@DIGEST", "Fetch a release set, verify its signatures and keep it; \
          with --username NAME --password-stdin for this time only"),
        ("set load -", "Take the release set of a bundle of `edge-app bundle` on standard input, \
          and load its images"),
        ("set show HEX", "Verify a set that is kept here again, and print it"),
        ("set status", "Show sets, the lowest number that is taken, and revoked digests"),
        ("set commit HEX", "Take no set with a lower number any more"),
        ("set repair", "Write the record of numbers and revoked digests again, the strictest \
          that is left"),
    ]).takes(Count(1, 2, "take REPOSITORY@DIGEST, load -, show HEX, status, commit HEX or repair"))
        .options(&[flag(' ', "json"), value('u', "username"), flag(' ', "password-stdin")])
        .operate();

    /// Lists running containers, or all with `--all`.
    Ps = Entry::client("ps", Inspect, &[("ps", "List containers")])
        .groups(&[("container", "ps"), ("container", "ls"), ("container", "list")])
        .options(&[
            flag('q', "quiet"), flag(' ', "no-trunc"), value('f', "filter"), value(' ', "format"),
            flag('a', "all"), flag('s', "size"), value('n', "last"), flag('l', "latest"),
        ]).look();
    /// Prints the logged standard output and standard error of a container.
    Logs = Entry::client("logs", Inspect, &[("logs NAME", "Print the log of a container")])
        .groups(&[("container", "logs")]).takes(Containers).options(&[
            flag('f', "follow"), flag('t', "timestamps"), flag(' ', "details"),
            value(' ', "since"), value(' ', "until"), value('n', "tail"),
        ]).look();
    /// Lists the processes of a container, with the output of `ps`.
    Top = Entry::client("top", Inspect, &[("top NAME [PS OPTIONS]", "List processes")])
        .groups(&[("container", "top")]).options_first().takes(ContainerAnd(is_ps_option)).look();
    /// Shows the use of CPU, memory, network and disk by containers.
    Stats = Entry::client("stats", Inspect, &[("stats [NAME ...]", "Show the use of resources")])
        .groups(&[("container", "stats")]).takes(Any).options(&[
            flag('a', "all"), flag(' ', "no-stream"), flag(' ', "no-trunc"), value(' ', "format"),
        ]).look();
    /// Lists the ports of the device that are forwarded to a container.
    Port = Entry::client("port", Inspect, &[("port NAME [PORT]", "List published ports")])
        .groups(&[("container", "port")]).options_first().takes(ContainerAnd(is_port)).look();
    /// Prints the engine's description of containers or images as JSON.
    Inspect = Entry::client("inspect", Inspect, &[("inspect NAME ...", "Print details as JSON")])
        .groups(&[("container", "inspect"), ("image", "inspect")]).takes(Any)
        .options(&[value('f', "format"), flag('s', "size"), value(' ', "type")]).look();
    /// Lists files that a container has added, changed or deleted since it was created.
    Diff = Entry::client("diff", Inspect, &[("diff NAME", "List files that changed")])
        .groups(&[("container", "diff")]).takes(Containers).look();
    /// Shows the versions of docker's client and of the engine.
    Version = Entry::client("version", Inspect, &[("version", "Show the versions of docker")])
        .options(&[value('f', "format")]).look();
    /// Shows the state and the configuration of the engine.
    Info = Entry::client("info", Inspect, &[("info", "Show the state of the engine")])
        .options(&[value('f', "format")]).look();
    /// Shows the disk space that images, containers, volumes and the build cache use.
    SystemDf = Entry::client("system df", Inspect, &[("system df", "Show the use of the disk")])
        .groups(&[("system", "df")]).options(&[flag('v', "verbose"), value(' ', "format")]).look();
    /// Shows the same as `info`, under the name in docker's group `system`.
    SystemInfo = Entry::client("system info", Inspect, &[("system info", "The same as info")])
        .groups(&[("system", "info")]).options(&[value('f', "format")]).look();

    /// Explains why apps do not run.
    Why = Entry::own("why", Inspect, &[
        ("why [APP]", "Say why an app does not run, or the last change to it was refused, and \
          what to type next"),
    ]).takes(Count(0, 1, "one app, or none for all")).look();
    /// Prints or verifies the ledger of decisions.
    Ledger = Entry::own("ledger", Inspect, &[
        ("ledger [--json] [--tail N] [--since TIME]",
            "Print who did what on this device; TIME is RFC 3339, or an age such as 90s, 15m, \
             2h or 3d"),
        ("ledger verify [--head N:HASH]",
            "Check that no record was changed, and that the one that the shadow reported is there"),
    ]).takes(Any).options(&[flag(' ', "json"), value('n', "tail"), value(' ', "head"),
            value(' ', "since")]).look();
    /// Prints the help page of edge-docker or of one command.
    Help = Entry::own("help", Inspect, &[("help [COMMAND]", "Show the options of a command")])
        .takes(Any).look();

    /// Verifies the signature of an image, then pulls the image by digest.
    Pull = Entry::own("pull", Images, &[
        ("pull IMAGE", "Verify the signature, then pull by digest; with --username NAME \
          --password-stdin for this pull only"),
        ("pull --set HEX APP-VERSION", "Pull the version that a release set names"),
    ]).groups(&[("image", "pull")]).takes(Count(1, 1, "one image")).options(&[
        // `--all-tags` is not listed: each image is verified by itself.
        flag('q', "quiet"), flag(' ', "allow-downgrade"), value('u', "username"),
        flag(' ', "password-stdin"), value(' ', "set"),
    ]).operate();
    /// Pushes an image to the only repository that the device uses.
    Push = Entry::own("push", Images, &[("push IMAGE", "Push to the one repository")])
        .groups(&[("image", "push")]).takes(Count(1, 1, "one image"))
        .options(&[flag('q', "quiet")]);
    /// Stores credentials of the registry on the device.
    Login = Entry::own("login", Images, &[
        ("login --username NAME --password-stdin", "Keep credentials of the registry"),
        // `--password` is not listed: every user can read the arguments of a process.
    ]).takes(Any).options(&[value('u', "username"), flag(' ', "password-stdin")]).operate();
    /// Deletes the stored credentials of the registry.
    Logout = Entry::own("logout", Images, &[("logout", "Remove credentials of the registry")])
        .takes(Any).operate();
    /// Builds a sandbox image from a tar archive on standard input.
    Build = Entry::own("build", Images, &[
        ("build -t sandbox/APP -", "Build a sandbox image of the tar on standard input"),
    ]).groups(&[("image", "build")]).takes(Any).options(&[
        // `--output`, `--secret`, `--ssh` and `--build-context` are not listed: they
        // write or read files of the device as root.
        value('t', "tag"), value('f', "file"), value(' ', "target"), value(' ', "build-arg"),
        value(' ', "network"), flag(' ', "no-cache"), flag('q', "quiet"), flag(' ', "rm"),
    ]);
    /// Loads sandbox images from a tar archive on standard input.
    Load = Entry::own("load", Images, &[
        ("load", "Load sandbox images of a tar on standard input; gzip and zstd too"),
        // `--input` is not listed: it reads a file of the device as root.
    ]).groups(&[("image", "load")]).takes(Any).options(&[flag('q', "quiet")]);
    /// Adds another name to a sandbox image.
    Tag = Entry::own("tag", Images, &[
        ("tag sandbox/APP sandbox/APP", "Give a sandbox image another name"),
    ]).groups(&[("image", "tag")]).takes(Any);
    /// Extracts tar archives from standard input into `/data/sandbox/APP`.
    Sync = Entry::own("sync", Images, &[
        ("sync APP", "Write files of tar archives on standard input into /data/sandbox/APP; \
          .wh.NAME removes NAME"),
    ]).takes(Count(1, 1, "the name of an app and nothing else"));
    /// Checks that image layers on the disk are equal to the signed ones.
    Fsck = Entry::own("fsck", Images, &[
        ("fsck [APP]", "Check that layers on the disk are those that were signed"),
    ]).takes(Count(0, 1, "one app, or none for all")).look();
    /// Lists the container images on the device.
    Images = Entry::client("images", Images, &[("images", "List images")])
        .groups(&[("image", "ls"), ("image", "list")]).takes(Any).options(&[
            flag('q', "quiet"), flag(' ', "no-trunc"), value('f', "filter"), value(' ', "format"),
            flag('a', "all"), flag(' ', "digests"),
        ]).look();
    /// Lists the layers of an image, with the build step that created each.
    History = Entry::client("history", Images, &[("history IMAGE", "List the layers of an image")])
        .groups(&[("image", "history")]).takes(Any).options(&[
            flag('q', "quiet"), flag(' ', "no-trunc"), flag('H', "human"), value(' ', "format"),
        ]).look();
    /// Removes container images from the device.
    RemoveImage = Entry::client("rmi", Images, &[("rmi IMAGE ...", "Remove images")])
        .groups(&[("image", "rm"), ("image", "remove")]).takes(Any)
        .options(&[flag('f', "force"), flag(' ', "no-prune")]).operate();
    /// Removes stopped containers, and networks and images that no container uses.
    SystemPrune = Entry::own("system prune", Images, &[
        ("system prune", "Remove stopped containers, unused networks and images; what a \
          deployment needs stays"),
    ]).groups(&[("system", "prune")]).options(&[flag('a', "all"), flag('f', "force")]).operate();

    /// Removes stopped containers that no deployment needs.
    ContainerPrune = Entry::own("container prune", Images, &[
        ("container prune", "Remove stopped containers that no deployment needs"),
    ]).groups(&[("container", "prune")]).options(&[flag('f', "force")]).operate();
    /// Removes images without a name, old versions, or all unused images.
    ImagePrune = Entry::own("image prune", Images, &[
        ("image prune", "Remove images without a name, and versions that may not start any \
          more; with --all every image that neither a container nor a deployment needs"),
    ]).groups(&[("image", "prune")]).options(&[flag('a', "all"), flag('f', "force")]).operate();

    /// Serves the authorization plugin, which decides on each request to the engine.
    Authz = Entry::own("authz", Hidden, &[("authz", "Serve the engine's authorization plugin")]);
    /// Notes the key of an SSH session for the ledger and prints the keys that may log in;
    /// sshd calls it.
    NoteSshKey = Entry::own("note-ssh-key", Hidden, &[
        ("note-ssh-key FINGERPRINT KEY HOME UID", "Note the key of an SSH session for the \
          ledger, and print the keys that may log in"),
    ]).takes(Any);
    /// Audits stored containers before the engine starts.
    AuditStored = Entry::own("audit-stored", Hidden, &[
        ("audit-stored", "Audit stored containers before the engine starts"),
        // systemd units of earlier device images use the old name `sweep`.
    ]).aliases(&["sweep"]);
    /// Carries out the trial of network settings.
    TryNetwork = Entry::own("try-network", Hidden, &[
        ("try-network", "Carry out the trial of network settings"),
    ]);
    /// Writes the files of the network settings, and ends an interrupted trial.
    RestoreNetwork = Entry::own("restore-network", Hidden, &[
        ("restore-network", "Write the files of the network settings; end an interrupted trial"),
    ]);
    /// Checks the layers of all images after the engine's start.
    CheckLayers = Entry::own("check-layers", Hidden, &[
        ("check-layers", "Check the layers of all images, and stop containers of damaged ones"),
    ]).takes(Count(0, 0, "no arguments"));
}

impl Command {
    /// Returns the command at the beginning of `args`, and the arguments after it.
    ///
    /// # Errors
    /// The command is missing, or is not in the table and therefore refused.
    pub fn find<'a, 'b>(args: &'a [&'b str]) -> Result<(Self, &'a [&'b str])> {
        let Some((name, rest)) = args.split_first() else {
            return Err(refuse("a command is missing: see edge-docker --help"));
        };
        let all = || Self::ALL.iter().copied();
        if !GROUPS.contains(name) {
            let is_named = |e: &Entry| e.name == *name || e.aliases.contains(name);
            let found = all().find(|command| is_named(command.entry()));
            return found
                .map(|command| (command, rest))
                .ok_or_else(|| refusal(name));
        }
        let Some((second, rest)) = rest.split_first() else {
            let members = all().flat_map(|c| c.entry().groups);
            let names: Vec<_> = members
                .filter(|(g, _)| g == name)
                .map(|(_, n)| *n)
                .collect();
            return Err(refuse(format_args!("{name} takes {}", listed(&names))));
        };
        let found = all().find(|c| c.entry().groups.contains(&(name, second)));
        found
            .map(|command| (command, rest))
            .ok_or_else(|| refusal(&format!("{name} {second}")))
    }
}

fn refusal(name: &str) -> anyhow::Error {
    refuse(format_args!(
        "command {name:?} is refused: see edge-docker --help for those that are taken"
    ))
}

/// Joins names for a message, in the form `a, b or c`.
fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [name] => (*name).into(),
        [names @ .., last] => format!("{} or {last}", names.join(", ")),
    }
}

/// Returns whether `arg` may follow `top NAME`. The engine runs `ps` with this argument
/// as root, outside the container, so that only options for the selection and the columns
/// of processes are accepted.
fn is_ps_option(arg: &str) -> bool {
    let is_field = |f: &str| !f.is_empty() && f.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    ["-ef", "-aux", "aux", "-eo", "-o", "-e", "-f", "-l"].contains(&arg)
        || arg.split(',').all(is_field)
}

/// Returns whether `arg` has the form of a port, for example `80/tcp`.
fn is_port(arg: &str) -> bool {
    ports::ports("port", arg).is_ok_and(|ports| ports.len() == 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_name_stands_for_two_commands() {
        let mut names = BTreeSet::new();
        for command in Command::ALL {
            let entry = command.entry();
            if !entry.name.contains(' ') {
                assert!(names.insert(entry.name.to_string()), "{}", entry.name);
            }
            for alias in entry.aliases {
                assert!(names.insert((*alias).into()), "{alias}");
            }
            for (group, name) in entry.groups {
                assert!(GROUPS.contains(group));
                let known =
                    command.entry().name == "inspect" || names.insert(format!("{group} {name}"));
                assert!(known, "{group} {name}");
            }
        }
    }

    #[test]
    fn every_command_is_found_by_its_names() {
        for command in Command::ALL {
            let entry = command.entry();
            for name in [entry.name].iter().chain(entry.aliases) {
                let args: Vec<_> = name.split(' ').chain(["x"]).collect();
                assert_eq!(Command::find(&args).unwrap(), (*command, &["x"][..]));
            }
            for (group, name) in entry.groups {
                let args = [*group, *name];
                let (found, rest) = Command::find(&args).unwrap();
                assert!(found == *command && rest.is_empty(), "{group} {name}");
            }
        }
        for bad in [
            &["frobnicate"][..],
            &[],
            &["container"],
            &["image", "save"],
            &["df"],
        ] {
            assert!(Command::find(bad).is_err(), "{bad:?}");
        }
    }
}
