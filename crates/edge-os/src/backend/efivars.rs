//! Variables as files of efivarfs: 4 bytes of attributes, then the value.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use edge_common::Root;
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use rustix::io::Errno;

use super::{KEPT, Value, Variable};

/// Mount point of efivarfs.
const DIRECTORY: &str = "/sys/firmware/efi/efivars";
/// Size limit of a variable, in bytes. Those that edge-os reads have at most 12.
const MAX_BYTES: u64 = 4096;

/// Variables below a root directory.
#[derive(Debug, Clone)]
pub struct Efivars(Root);

impl Efivars {
    /// Returns the variables of the running system, or below another root in tests.
    pub fn new(root: &Root) -> Self {
        Self(root.clone())
    }

    /// Returns whether efivarfs is mounted.
    pub fn exists(&self) -> bool {
        self.0.path(DIRECTORY).is_dir()
    }

    fn path(&self, variable: Variable) -> PathBuf {
        let (name, vendor) = variable.name();
        self.0.path(DIRECTORY).join(format!("{name}-{vendor}"))
    }

    /// Reads a variable; `None` if it does not exist.
    ///
    /// # Errors
    /// efivarfs is not mounted, or the file cannot be read.
    pub fn get(&self, variable: Variable) -> Result<Option<Value>> {
        let path = self.path(variable);
        let context = || format!("reading {}", path.display());
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound && self.exists() => return Ok(None),
            Err(error) => return Err(error).with_context(context),
        };
        let mut bytes = Vec::new();
        let mut file = file.take(MAX_BYTES);
        file.read_to_end(&mut bytes).with_context(context)?;
        // An empty file is a variable whose first write has not succeeded.
        let Some((attributes, data)) = bytes.split_first_chunk() else {
            return match bytes.is_empty() {
                true => Ok(None),
                false => bail!("reading {}: {} bytes", path.display(), bytes.len()),
            };
        };
        Ok(Some(Value {
            attributes: u32::from_le_bytes(*attributes),
            data: data.to_vec(),
        }))
    }

    /// Writes a number and reads it back.
    ///
    /// # Errors
    /// The variable does not have this value afterwards.
    pub fn set(&self, variable: Variable, number: u32) -> Result<()> {
        let before = self.get(variable)?;
        if before.as_ref().and_then(Value::number) == Some(number) {
            return Ok(());
        }
        // The firmware refuses other attributes than those of an existing variable.
        let attributes = before.as_ref().map_or(KEPT, |v| v.attributes);
        let path = self.path(variable);
        if before.is_some() {
            self.make_mutable(variable)?;
        }
        let bytes = [attributes.to_le_bytes(), number.to_le_bytes()].concat();
        if let Err(error) = write_once(&path, &bytes) {
            if before.is_none() {
                // Otherwise an empty file stays, which is no variable.
                let _ = fs::remove_file(&path);
            }
            return Err(error).with_context(|| format!("writing {}", path.display()));
        }
        let after = self.number(variable)?;
        if after != Some(number) {
            let after = after.map_or("nothing".into(), |n| n.to_string());
            bail!(
                "{}: wrote {number}, reads as {after}: the firmware locks it",
                path.display()
            );
        }
        Ok(())
    }

    /// Deletes a variable, if it exists.
    ///
    /// # Errors
    /// The variable still exists.
    pub fn delete(&self, variable: Variable) -> Result<()> {
        let path = self.path(variable);
        let context = || format!("deleting {}", path.display());
        if !path.exists() && self.exists() {
            return Ok(());
        }
        self.make_mutable(variable)?;
        fs::remove_file(&path).with_context(context)?;
        match self.get(variable)? {
            None => Ok(()),
            Some(_) => bail!(
                "deleting {}: it is still there: the firmware locks it",
                path.display()
            ),
        }
    }

    fn number(&self, variable: Variable) -> Result<Option<u32>> {
        Ok(self.get(variable)?.as_ref().and_then(Value::number))
    }

    /// Clears the flag that the kernel sets on variables that it does not know, so that
    /// `rm -r` does not brick a board.
    fn make_mutable(&self, variable: Variable) -> Result<()> {
        let path = self.path(variable);
        let context = || format!("clearing the immutable flag of {}", path.display());
        let file = File::open(&path).with_context(context)?;
        let flags = match ioctl_getflags(&file) {
            Ok(flags) => flags,
            Err(Errno::NOTTY | Errno::OPNOTSUPP) => return Ok(()),
            Err(error) => return Err(error).with_context(context),
        };
        if flags.contains(IFlags::IMMUTABLE) {
            ioctl_setflags(&file, flags - IFlags::IMMUTABLE).with_context(context)?;
        }
        Ok(())
    }
}

/// Writes all bytes with a single write(2): efivarfs takes each write as a whole variable.
fn write_once(path: &std::path::Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = File::options();
    let file = options.write(true).create(true).mode(0o600).open(path)?;
    let written = loop {
        match rustix::io::write(&file, bytes) {
            Err(Errno::INTR) => {}
            result => break result?,
        }
    };
    match written == bytes.len() {
        true => Ok(()),
        false => Err(ErrorKind::WriteZero.into()),
    }
}
