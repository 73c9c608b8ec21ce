//! Numbers for unit names. Every boot compares some thousand references between the units
//! of the image, so that each name is copied and hashed once and compared as a number.

use std::collections::HashMap;
use std::rc::Rc;

/// Number of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Id(usize);

impl Id {
    /// Returns the number, which counts from 0 without a gap.
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

/// Names and their numbers.
#[derive(Default)]
pub(crate) struct Names {
    texts: Vec<Rc<str>>,
    ids: HashMap<Rc<str>, Id>,
}

impl Names {
    /// Returns the number of a name, and adds a name that is new.
    pub(crate) fn id(&mut self, name: &str) -> Id {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let (id, text) = (Id(self.texts.len()), Rc::<str>::from(name));
        self.texts.push(text.clone());
        self.ids.insert(text, id);
        id
    }

    /// Returns the number of a name that was added.
    pub(crate) fn find(&self, name: &str) -> Option<Id> {
        self.ids.get(name).copied()
    }

    /// Returns the name of a number. The copy refers to the same text.
    pub(crate) fn text(&self, id: Id) -> Rc<str> {
        self.texts[id.0].clone()
    }

    /// Returns all names in the order of their numbers.
    pub(crate) fn all(&self) -> &[Rc<str>] {
        &self.texts
    }
}
