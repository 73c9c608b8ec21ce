//! Arguments of `edge-app rollout`.

use clap::Subcommand;

use crate::cli::output::Output;

/// Group of a rollout, and the format of the output.
#[derive(clap::Args)]
pub(crate) struct Group {
    /// Name of the group, which is also that of its release sets
    pub(crate) group: String,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Consent that is not asked for.
#[derive(clap::Args)]
pub(crate) struct Consent {
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

/// Stages and limits of a rollout. They are stored in AWS with its jobs.
#[derive(Clone, clap::Args)]
pub(crate) struct Stages {
    /// Devices that take the set first; 0 for none
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) canary: u32,
    /// Time between the last canary and the rest, such as 90s, 30m or 2h
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = seconds)]
    pub(crate) soak: u64,
    /// Devices that are notified in a minute
    #[arg(long, value_name = "N", default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rate: u32,
    /// Percentage of failed devices at which the rollout stops by itself
    #[arg(long, value_name = "P", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) abort_at: u32,
}

/// Subcommands of `rollout`.
#[derive(Subcommand)]
pub(crate) enum RolloutCommand {
    /// Begin: cancel older rollouts of the group, create the job of the canaries
    #[command(after_help = "Example: edge-app rollout start barn --canary 2 --yes")]
    Start {
        #[command(flatten)]
        group: Group,
        /// Number of the release set [default: the newest in the registry]
        #[arg(long, value_name = "NUMBER")]
        set: Option<u64>,
        #[command(flatten)]
        stages: Stages,
        #[command(flatten)]
        consent: Consent,
        /// Wait for each stage, and begin the next one
        #[arg(long)]
        wait: bool,
    },
    /// Begin the next stage, once the canaries have committed and soaked
    #[command(after_help = "Example: edge-app rollout continue barn --wait")]
    Continue {
        #[command(flatten)]
        group: Group,
        #[command(flatten)]
        consent: Consent,
        /// Wait until the stage has ended
        #[arg(long)]
        wait: bool,
    },
    /// Show the stages of the newest rollout, and devices that failed
    #[command(after_help = "Example: edge-app rollout status barn --watch")]
    Status {
        #[command(flatten)]
        group: Group,
        /// Show it until the rollout has ended
        #[arg(long)]
        watch: bool,
    },
    /// Notify no more devices; those that have begun finish
    #[command(after_help = "Example: edge-app rollout pause barn")]
    Pause(Group),
    /// Go on after a pause, with the devices that are left
    #[command(after_help = "Example: edge-app rollout resume barn")]
    Resume(Group),
    /// End the rollout; devices that have begun finish
    #[command(after_help = "Example: edge-app rollout abort barn --yes")]
    Abort {
        #[command(flatten)]
        group: Group,
        #[command(flatten)]
        consent: Consent,
    },
    /// Try again on the devices that failed or timed out
    #[command(after_help = "Example: edge-app rollout retry barn")]
    Retry {
        #[command(flatten)]
        group: Group,
        #[command(flatten)]
        consent: Consent,
    },
    /// List the rollouts of a group
    #[command(after_help = "Example: edge-app rollout history barn --json")]
    History(Group),
}

/// Parses a time with the unit `s`, `m` or `h`, at most a week.
fn seconds(text: &str) -> Result<u64, String> {
    let malformed = || format!("{text} is no time: give a number with s, m or h, such as 30m");
    let (number, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(malformed)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(malformed()),
    };
    let seconds = number.parse::<u32>().map_err(|_| malformed())?;
    match u64::from(seconds) * unit {
        seconds if seconds <= 604_800 => Ok(seconds),
        _ => Err(format!("{text} is more than a week")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, wanted) in [("0s", 0), ("90s", 90), ("30m", 1800), ("168h", 604_800)] {
            assert_eq!(seconds(text), Ok(wanted));
        }
        for wrong in [
            "",
            "s",
            "30",
            "-1s",
            "1d",
            "169h",
            "ü",
            "99999999999h",
            "1.5h",
        ] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
