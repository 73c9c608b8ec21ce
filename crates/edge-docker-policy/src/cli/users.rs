//! Users and groups of containers: names and numbers as docker spells them, and the login
//! user of the device, whose numbers no container takes.

use anyhow::Result;
use edge_common::contract::login;

use crate::cli::values::{bad, number};
use crate::limits::MAX_ID;
use crate::mounts::Owner;
use crate::refusal::refuse;

/// Checks `USER[:GROUP]`, each a name or a number.
pub fn user(option: &str, text: &str) -> Result<String> {
    let (user, group) = text.split_once(':').unwrap_or((text, "0"));
    account(option, user)?;
    account(option, group)?;
    Ok(text.into())
}

/// Checks the name or number of a user or group.
pub(crate) fn account(option: &str, text: &str) -> Result<String> {
    let permitted = |c: char| c.is_ascii_alphanumeric() || "_.-+".contains(c);
    let is_number = text
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-".contains(&b));
    let plain = !text.is_empty() && text.len() <= 128 && text.chars().all(permitted);
    if !plain || is_number && number(option, text, 0..=MAX_ID).is_err() {
        let wanted = "USER or USER:GROUP: letters, digits, _ . - +, or a number";
        return Err(bad(option, text, wanted));
    }
    if is_login_user(text) {
        return Err(refuse(format_args!(
            "--{option} {text} is refused: {} is the user `{}` of this device, choose another ID",
            login::ID,
            login::NAME
        )));
    }
    Ok(text.into())
}

/// Returns whether a part of `USER[:GROUP]` is the ID of the device's login user, in any
/// spelling that the engine parses. A name is one of the container image, and is not
/// looked up.
pub fn is_login_user(text: &str) -> bool {
    let mut parts = text.split(':');
    parts.any(|part| {
        part.parse::<u64>()
            .is_ok_and(|id| id == u64::from(login::ID))
    })
}

/// Parses a numeric `USER[:GROUP]`; the group ID is the user ID by default. Returns
/// `None` for names.
pub fn owner(text: &str) -> Option<Owner> {
    // A name would have to be looked up in `/etc/passwd` of the container image.
    let (user, group) = text.split_once(':').unwrap_or((text, text));
    Some(Owner {
        user: user.parse().ok()?,
        group: group.parse().ok()?,
    })
}

/// Returns the numbers of `USER[:GROUP]` with names from `passwd` and `group`, the
/// contents of these files of a container image; `None` if a name is missing. Without
/// `GROUP` it is the group of the user in `passwd`.
pub fn owner_of_names(text: &str, passwd: &str, group: &str) -> Option<Owner> {
    let (user, group_name) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let account = entry(passwd, user);
    let number = |text: &str| text.parse().ok();
    let user = number(user).or_else(|| number(account.as_ref()?.get(2)?))?;
    let group = match group_name {
        Some(name) => number(name).or_else(|| number(entry(group, name)?.get(2)?))?,
        None => number(account?.get(3)?)?,
    };
    Some(Owner { user, group })
}

/// Returns the fields of the first line of `passwd` or `group` with this name.
fn entry<'a>(file: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let lines = file.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines
        .into_iter()
        .find(|fields| fields.first() == Some(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1001::/:\nbad:x:one:2\n";
    const GROUP: &str = "root:x:0:\nvideo:x:44:node\nshort\n";

    #[test]
    fn names_are_looked_up_in_the_image() {
        let look_up = |text| owner_of_names(text, PASSWD, GROUP).map(|o| (o.user, o.group));
        assert_eq!(look_up("node"), Some((1000, 1001)));
        assert_eq!(look_up("node:video"), Some((1000, 44)));
        assert_eq!(look_up("node:7"), Some((1000, 7)));
        assert_eq!(look_up("5:video"), Some((5, 44)));
        for missing in [
            "nobody",
            "bad",
            "node:short",
            "node:none",
            "",
            ":",
            "4294967296",
        ] {
            assert_eq!(look_up(missing), None, "{missing}");
        }
        assert!(owner_of_names("node", "", "").is_none());
    }
}
