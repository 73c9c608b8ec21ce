//! The two slots of the operating system, and their names in partition table, firmware
//! and state files.

use serde::{Deserialize, Serialize};

/// One of the two root file systems. Its firmware chain has the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Slot {
    /// Partition `APP`.
    A,
    /// Partition `APP_b`.
    B,
}

impl Slot {
    /// Both slots, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// Returns the slot that is not this one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Returns the number of the slot in the firmware's variables.
    pub const fn number(self) -> u32 {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }

    /// Returns the slot of a number of the firmware's variables.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::A),
            1 => Some(Self::B),
            _ => None,
        }
    }

    /// Returns the name of the slot's root partition in the partition table.
    pub const fn partition(self) -> &'static str {
        match self {
            Self::A => "APP",
            Self::B => "APP_b",
        }
    }

    /// Returns the slot whose root partition has this name.
    pub fn from_partition(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.partition() == name)
    }
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}
