//! Checks of the values of a release set.

use std::collections::BTreeSet;

use edge_common::contract::set::{
    FORMAT, MAX_APPS, MAX_DIGESTS, MAX_NAME_BYTES, MAX_PATTERNS, MAX_SECONDS, MAX_THING_BYTES,
};

use super::text::{malformed, other_version};
use super::{ReleaseSet, Requires, SetApp, Window};
use crate::error::Error;
use crate::names::{valid_app, valid_version};

/// Limit of integers, 2^53: a parser that reads numbers as floating point, as JavaScript's
/// does, rounds larger ones.
const MAX_INTEGER: u64 = 1 << 53;
/// Latest time, the end of the year 9999: the time can be printed.
const MAX_TIME: u64 = 253_402_300_799;
/// Minutes of a day and of a week.
const DAY_MINUTES: u32 = 24 * 60;
const WEEK_MINUTES: u32 = 7 * DAY_MINUTES;
/// Size limit of the version of a device image, in bytes.
const MAX_IMAGE_BYTES: usize = 32;
/// Names of architectures in image manifests.
const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];

impl ReleaseSet {
    /// Checks every value.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.edge != FORMAT {
            return Err(other_version(self.edge.into()));
        }
        if !valid_name(&self.name) {
            return Err(malformed(&format!(
                "name {:?} is not 1 to {MAX_NAME_BYTES} characters a-z, 0-9 and -",
                self.name
            )));
        }
        require(
            self.expires <= MAX_TIME,
            format_args!("expires {} is too late", self.expires),
        )?;
        number("serial", self.serial)?;
        require(
            self.settle <= MAX_SECONDS,
            format_args!("settle {} is more than {MAX_SECONDS} s", self.settle),
        )?;
        self.check_things()?;
        self.check_apps()?;
        self.check_digests()?;
        check_requires(&self.requires)?;
        self.window.as_ref().map_or(Ok(()), check_window)
    }

    fn check_things(&self) -> Result<(), Error> {
        let valid = |c: char| c.is_ascii_alphanumeric() || ":_-*".contains(c);
        sorted("for", &self.things, MAX_PATTERNS)?;
        if self.things.is_empty() {
            return Err(malformed("for is empty: name the devices, or *"));
        }
        for pattern in &self.things {
            let fits = (1..=MAX_THING_BYTES).contains(&pattern.len()) && pattern.chars().all(valid);
            require(
                fits,
                format_args!("for has {pattern:?}, which is no pattern of thing names"),
            )?;
        }
        Ok(())
    }

    fn check_apps(&self) -> Result<(), Error> {
        let names: Vec<_> = self.apps.iter().map(|app| &app.name).collect();
        sorted("apps", &names, MAX_APPS)?;
        for app in &self.apps {
            check_app(app)?;
        }
        sorted("remove", &self.remove, MAX_APPS)?;
        for name in &self.remove {
            require(
                valid_app(name) && self.app(name).is_none(),
                format_args!("remove has {name:?}, which is no app or one of this set"),
            )?;
        }
        let mut seen = BTreeSet::new();
        for name in &self.order {
            require(
                self.app(name).is_some() && seen.insert(name),
                format_args!("order has {name:?}, which is no app of the set or there twice"),
            )?;
        }
        let plain = self.order.is_empty()
            && self.requires == Requires::default()
            && self.settle == 0
            && self.window.is_none();
        let changes = self.revoked.len() + self.restored.len();
        require(
            !self.is_revocation_list() || (plain && changes > 0),
            format_args!("it has neither apps nor, as its only content, revoked digests"),
        )
    }

    fn check_digests(&self) -> Result<(), Error> {
        sorted("revoked", &self.revoked, MAX_DIGESTS)?;
        sorted("restored", &self.restored, MAX_DIGESTS)?;
        for digest in &self.restored {
            require(
                self.revoked.binary_search(digest).is_err(),
                format_args!("{digest} is revoked and restored"),
            )?;
        }
        for app in &self.apps {
            require(
                self.revoked.binary_search(&app.digest).is_err(),
                format_args!("{} has a digest that the set revokes", app.name),
            )?;
        }
        Ok(())
    }
}

/// Returns whether `name` is valid for a set: it is part of a tag and of a job's ID, which
/// has 64 characters.
fn valid_name(name: &str) -> bool {
    name.len() <= MAX_NAME_BYTES && valid_app(name)
}

fn check_app(app: &SetApp) -> Result<(), Error> {
    let SetApp { name, version, .. } = app;
    require(
        valid_app(name) && valid_version(version),
        format_args!("{name:?} {version:?} is no app and version"),
    )?;
    number("serial of an app", app.serial)?;
    let timeout = app.timeout.unwrap_or(1);
    require(
        (1..=MAX_SECONDS).contains(&timeout),
        format_args!("timeout {timeout} of {name} is not 1 to {MAX_SECONDS} s"),
    )
}

fn check_requires(requires: &Requires) -> Result<(), Error> {
    if let Some(arch) = &requires.arch {
        require(
            ARCHITECTURES.contains(&arch.as_str()),
            format_args!("arch {arch:?} is neither amd64 nor arm64"),
        )?;
    }
    number("disk_mb", requires.disk_mb.unwrap_or_default())?;
    let Some(image) = &requires.image else {
        return Ok(());
    };
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    require(
        image.len() <= MAX_IMAGE_BYTES && image.split('.').all(is_number),
        format_args!("image {image:?} is not numbers with dots"),
    )
}

fn check_window(window: &Window) -> Result<(), Error> {
    let longest = window.day.map_or(DAY_MINUTES, |_| WEEK_MINUTES);
    require(
        window.day.unwrap_or_default() < 7
            && window.start < DAY_MINUTES
            && (1..=longest).contains(&window.minutes),
        format_args!("the window is not within a week"),
    )
}

fn number(name: &str, value: u64) -> Result<(), Error> {
    require(
        value < MAX_INTEGER,
        format_args!("{name} {value} is not below 2^53"),
    )
}

/// Requires a list without duplicates, in ascending order, of at most `limit` elements.
fn sorted<T: Ord>(name: &str, list: &[T], limit: usize) -> Result<(), Error> {
    require(
        list.len() <= limit,
        format_args!("{name} has {} entries, more than {limit}", list.len()),
    )?;
    require(
        list.windows(2).all(|pair| pair[0] < pair[1]),
        format_args!("{name} is not sorted, or has an entry twice"),
    )
}

fn require(fits: bool, wrong: std::fmt::Arguments<'_>) -> Result<(), Error> {
    if fits {
        return Ok(());
    }
    Err(malformed(&wrong.to_string()))
}
