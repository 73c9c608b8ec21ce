//! Strictness of the device image: origin of container settings, and level of the commands
//! that engineers may give. `policy.json` states both.

/// Origin of the settings of a container: `signed` or `any`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "system", derive(serde::Deserialize))]
#[cfg_attr(feature = "system", serde(rename_all = "lowercase"))]
pub enum RunMode {
    /// Exactly the signed run specification of the app.
    #[default]
    Signed,
    /// The signed run specification, or options on the command line.
    Any,
}

/// Level of the commands of edge-docker that engineers and the units of `/data/services`
/// may give: `look`, `operate` or `debug`. Each level includes the ones before it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "system", derive(serde::Deserialize))]
#[cfg_attr(feature = "system", serde(rename_all = "lowercase"))]
pub enum Level {
    /// Commands that change nothing.
    #[default]
    Look,
    /// Commands that run, stop and remove what was signed, as it was signed.
    Operate,
    /// Commands and options of the caller's own choice.
    Debug,
}

impl Level {
    /// Returns the name of the level in `policy.json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Operate => "operate",
            Self::Debug => "debug",
        }
    }
}
