//! Access to the firmware's variables, on which the choice of a slot depends.

mod efivars;
mod tegra;

use anyhow::Result;

pub use efivars::Efivars;
pub use tegra::Tegra;

use crate::slot::Slot;

/// Vendor of NVIDIA's variables.
const NVIDIA: &str = "781e084c-a330-417c-b678-38e696380cb9";
/// Vendor of the variables of the UEFI specification.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Vendor of the variables of this program.
const EDGE: &str = "6f2a5d0e-4c1b-4b52-9a43-1f0d6a7be0c5";

/// Variable of the firmware that edge-os reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variable {
    /// Whether the firmware knows two root slots; it sets and locks it at each start.
    RedundancyLevel,
    /// Attempts at starting a slot; the firmware sets and locks it at each start.
    RetryCountMax,
    /// State of a slot: [`NORMAL`] or [`UNBOOTABLE`].
    Status(Slot),
    /// Firmware chain that has started; the firmware sets it at each start.
    FwCurrent,
    /// Slot that the firmware has started; the firmware sets it at each start.
    OsCurrent,
    /// Chain for which the firmware is asked at the next start.
    FwNext,
    /// Result of the last change of the chain.
    FwStatus,
    /// Entry that the firmware starts once. The firmware refuses a change of the chain then.
    BootNext,
    /// Requests of the system to the firmware, among them an update by capsule.
    OsIndications,
    /// Attempts that are left of an update on trial, and the stage that it reached.
    Trial,
    /// Variable that shows whether variables can be written at all.
    Probe,
}

impl Variable {
    /// Returns name and vendor.
    pub const fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::RedundancyLevel => ("RootfsRedundancyLevel", NVIDIA),
            Self::RetryCountMax => ("RootfsRetryCountMax", NVIDIA),
            Self::Status(Slot::A) => ("RootfsStatusSlotA", NVIDIA),
            Self::Status(Slot::B) => ("RootfsStatusSlotB", NVIDIA),
            Self::FwCurrent => ("BootChainFwCurrent", NVIDIA),
            Self::OsCurrent => ("BootChainOsCurrent", NVIDIA),
            Self::FwNext => ("BootChainFwNext", NVIDIA),
            Self::FwStatus => ("BootChainFwStatus", NVIDIA),
            Self::BootNext => ("BootNext", GLOBAL),
            Self::OsIndications => ("OsIndications", GLOBAL),
            Self::Trial => ("EdgeOsTrial", EDGE),
            Self::Probe => ("EdgeOsProbe", EDGE),
        }
    }
}

/// Value of [`Variable::Status`]: the firmware may start the slot.
pub const NORMAL: u32 = 0;
/// Value of [`Variable::Status`]: the firmware does not start the slot.
pub const UNBOOTABLE: u32 = 0xff;
/// Attributes of a variable that outlives a restart: non-volatile, and readable at boot
/// and run time.
pub const KEPT: u32 = 7;
/// Attributes of a variable that the firmware sets at each start.
pub const VOLATILE: u32 = 6;

/// Content of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Attributes of the UEFI specification.
    pub attributes: u32,
    /// Bytes of the value.
    pub data: Vec<u8>,
}

impl Value {
    /// Returns the value as a number; `None` if it does not have the length of one.
    pub fn number(&self) -> Option<u32> {
        Some(u32::from_le_bytes(self.data.as_slice().try_into().ok()?))
    }
}

/// Firmware of a board.
pub trait Backend {
    /// Reads a variable; `None` if it does not exist.
    ///
    /// # Errors
    /// The firmware's variables cannot be read.
    fn get(&self, variable: Variable) -> Result<Option<Value>>;

    /// Writes a number to a variable and reads it back.
    ///
    /// # Errors
    /// The variable does not have this value afterwards.
    fn set(&self, variable: Variable, number: u32) -> Result<()>;

    /// Deletes a variable, if it exists, and makes sure that it is gone.
    ///
    /// # Errors
    /// The variable still exists.
    fn delete(&self, variable: Variable) -> Result<()>;

    /// Gives the running slot all its attempts again: the firmware counts the starts of a
    /// slot, and gives it up after [`Variable::RetryCountMax`] that nobody confirmed.
    ///
    /// # Errors
    /// The counter cannot be set.
    fn reset_counter(&self) -> Result<()>;

    /// Reads a variable that is a number.
    ///
    /// # Errors
    /// The variable cannot be read, or is no number.
    fn number(&self, variable: Variable) -> Result<Option<u32>> {
        let Some(value) = self.get(variable)? else {
            return Ok(None);
        };
        let (name, _) = variable.name();
        let number = value.number();
        let length = value.data.len();
        number
            .map(Some)
            .ok_or_else(|| anyhow::anyhow!("variable {name}: {length} bytes, not 4"))
    }
}
