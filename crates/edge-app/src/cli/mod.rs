//! The command line: its arguments, and the pages made from them.

pub(crate) mod args;
pub(crate) mod pages;
