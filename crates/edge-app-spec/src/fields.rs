//! Reader of the keys of a mapping: refuses unknown keys with a hint, and reports every
//! mistake instead of the first alone.

use crate::keys::{Keys, unknown};
use crate::yaml::{Node, Place, Problem};

/// Value of a key, and the position and spelling of the key.
#[derive(Debug)]
pub(crate) struct Found<T> {
    pub(crate) key: &'static str,
    pub(crate) place: Place,
    pub(crate) value: T,
}

/// Keys of one mapping that were not read yet, and the mistakes found so far.
pub(crate) struct Fields<'n> {
    entries: Vec<(Place, &'static str, &'n Node)>,
    problems: Vec<Problem>,
}

impl<'n> Fields<'n> {
    /// Takes the entries of a mapping whose keys are in `keys`.
    pub(crate) fn new(node: &'n Node, keys: &Keys) -> Result<Self, Problem> {
        let mut fields = Self {
            entries: Vec::new(),
            problems: Vec::new(),
        };
        for (key, value) in node.map()? {
            match keys.find(&key.text) {
                Some(name) => fields.entries.push((key.place, name, value)),
                None => fields
                    .problems
                    .push(Problem::new(key.place, unknown(keys, &key.text))),
            }
        }
        Ok(fields)
    }

    /// Returns whether the key `name` was not read yet and has a value.
    pub(crate) fn has(&self, name: &str) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|(_, key, node)| *key == name && !node.is_null())
    }

    /// Reads the value of one of `names`, which are spellings of the same key. A key
    /// without a value counts as absent: its entries may be commented out.
    pub(crate) fn find<T>(
        &mut self,
        names: &[&str],
        parse: impl FnOnce(&'n Node) -> Result<T, Problem>,
    ) -> Option<Found<T>> {
        let mut found = Vec::new();
        self.entries.retain(|entry| {
            let wanted = names.contains(&entry.1);
            if wanted && !entry.2.is_null() {
                found.push(*entry);
            }
            !wanted
        });
        if let [(first, name, _), (second, other, _), ..] = found[..] {
            self.conflict((first, name), (second, other));
        }
        let (place, key, node) = found.first().copied()?;
        match parse(node) {
            Ok(value) => Some(Found { key, place, value }),
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }

    /// Reads a value as [`Self::find`] does, without its position.
    pub(crate) fn read<T>(
        &mut self,
        names: &[&str],
        parse: impl FnOnce(&'n Node) -> Result<T, Problem>,
    ) -> Option<T> {
        self.find(names, parse).map(|found| found.value)
    }

    /// Returns the one value of two keys with the same meaning.
    pub(crate) fn one_of<T>(&mut self, a: Option<Found<T>>, b: Option<Found<T>>) -> Option<T> {
        if let (Some(a), Some(b)) = (&a, &b) {
            self.conflict((a.place, a.key), (b.place, b.key));
        }
        a.or(b).map(|found| found.value)
    }

    fn conflict(&mut self, a: (Place, &str), b: (Place, &str)) {
        let ((first, name), (second, other)) = if a.0 < b.0 { (a, b) } else { (b, a) };
        self.problems.push(Problem::new(
            second,
            format_args!(
                "`{other}` and `{name}` on line {} are the same setting: keep one",
                first.line
            ),
        ));
    }

    /// Reports a mistake that was found outside of [`Self::find`].
    pub(crate) fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Returns the mistakes in the order of the text.
    pub(crate) fn finish(mut self) -> Result<(), Vec<Problem>> {
        self.problems.sort_by_key(|problem| problem.place);
        match self.problems.is_empty() {
            true => Ok(()),
            false => Err(self.problems),
        }
    }

    /// Returns the first mistake, for a mapping inside of another.
    pub(crate) fn first(self) -> Result<(), Problem> {
        self.finish().map_err(|problems| problems[0].clone())
    }
}
