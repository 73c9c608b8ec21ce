//! Release sets of a schedule, good and bad ones.

use edge_fleet::converge::{Deployed, Plan, Planned, Window};

/// Apps of the device.
pub const APPS: [&str; 3] = ["a", "b", "c"];

/// Why a device must not carry out a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    Unsigned,
    Expired,
    NotFor,
    Requires,
    Grant,
}

impl Flaw {
    pub fn rule(self) -> &'static str {
        match self {
            Self::Unsigned => "signature",
            Self::Expired => "expired",
            Self::NotFor => "not-for",
            Self::Requires => "requires",
            Self::Grant => "grant",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Set {
    pub digest: String,
    pub plan: Plan,
    pub flaw: Option<Flaw>,
    /// Apps that never become healthy.
    pub sick: Vec<String>,
    /// Apps that crash the device while they start.
    pub crashing: Vec<String>,
}

/// Returns `sha256:` and a number in hexadecimal.
pub fn digest(number: usize) -> String {
    format!("sha256:{number:064x}")
}

impl Set {
    /// Returns the set with a number; `dice` decides its content.
    pub fn new(number: u64, dice: usize) -> Self {
        let bits = |shift: usize, count: usize| (dice >> shift) % count;
        let named = APPS.iter().enumerate().filter(|(n, _)| bits(*n, 5) != 0);
        let mut apps: Vec<_> = named
            .map(|(n, app)| Planned {
                app: (*app).into(),
                deployed: version(n, bits(2 * n, 3)),
            })
            .collect();
        let is_list = bits(5, 29) == 0;
        if is_list {
            apps.clear();
        }
        let absent = |app: &&&str| !apps.iter().any(|planned| planned.app == ***app);
        let remove = APPS.iter().filter(absent).map(ToString::to_string);
        let remove = remove.filter(|_| !is_list && bits(4, 2) == 0).collect();
        let flaws = [
            Flaw::Unsigned,
            Flaw::Expired,
            Flaw::NotFor,
            Flaw::Requires,
            Flaw::Grant,
        ];
        let flaw = flaws.get(bits(7, 40)).copied();
        let night = Window {
            day: Some(0),
            start: 120,
            minutes: 180,
        };
        let odd = |shift: usize, limit: usize| {
            let chosen = apps
                .iter()
                .enumerate()
                .filter(|(n, _)| bits(shift + n, limit) == 0);
            chosen
                .map(|(_, planned)| planned.app.clone())
                .collect::<Vec<_>>()
        };
        let (sick, crashing) = (odd(9, 9), odd(11, 31));
        Self {
            digest: digest(usize::try_from(number).unwrap() + 0x1000),
            plan: Plan {
                name: if bits(3, 7) == 0 {
                    "stable".into()
                } else {
                    "barn".into()
                },
                number,
                apps,
                remove,
                window: (bits(6, 11) == 0).then_some(night),
                settle: if bits(8, 3) == 0 { 0 } else { 30 },
            },
            flaw,
            sick,
            crashing,
        }
    }
}

/// Returns a version of an app; few of them, so that sets share some.
pub fn version(app: usize, number: usize) -> Deployed {
    Deployed {
        digest: digest(app * 16 + number),
        version: format!("v{number}"),
    }
}
