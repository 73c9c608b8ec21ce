//! NVIDIA's firmware for Orin, edk2-nvidia r36.5: variables in efivarfs, and a retry
//! counter in a register of the chip.

use std::time::Duration;

use anyhow::{Result, bail};
use edge_common::Root;
use edge_common::command::run_within;

use super::{Backend, Efivars, Value, Variable};

/// NVIDIA's program that sets the register of the retry counter.
const NVBOOTCTRL: &str = "/usr/sbin/nvbootctrl";
/// Time limit of [`NVBOOTCTRL`].
const LIMIT: Duration = Duration::from_secs(30);

/// Firmware of the running board.
#[derive(Debug, Clone)]
pub struct Tegra {
    root: Root,
    variables: Efivars,
}

impl Tegra {
    /// Returns the firmware of the running board, or variables below another root in tests.
    pub fn new(root: &Root) -> Self {
        Self {
            root: root.clone(),
            variables: Efivars::new(root),
        }
    }
}

impl Backend for Tegra {
    fn get(&self, variable: Variable) -> Result<Option<Value>> {
        self.variables.get(variable)
    }

    fn set(&self, variable: Variable, number: u32) -> Result<()> {
        self.variables.set(variable, number)
    }

    fn delete(&self, variable: Variable) -> Result<()> {
        self.variables.delete(variable)
    }

    fn reset_counter(&self) -> Result<()> {
        let mut command = self.root.command(NVBOOTCTRL);
        let completed = run_within(command.arg("verify"), "", LIMIT, Duration::from_secs(5))?;
        if !completed.success() {
            bail!("{NVBOOTCTRL} verify: {}", completed.summary());
        }
        Ok(())
    }
}
