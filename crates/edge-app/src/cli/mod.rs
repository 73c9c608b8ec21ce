//! Command line: its arguments, and the pages that are generated from them.

pub(crate) mod args;
pub(crate) mod pages;
