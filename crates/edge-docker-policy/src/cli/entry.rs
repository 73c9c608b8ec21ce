//! Entries of the table of commands: the names, options, arguments and help text of a
//! command.

use anyhow::Result;
use edge_common::level::Level;

use crate::cli::args::{self, Known, Order, Parsed};
use crate::cli::client_values;
use crate::cli::values;
use crate::refusal::refuse;

/// Groups of the help page, in which commands are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    /// Commands that create, deploy or enter containers.
    Run,
    /// Commands that start, stop or remove existing containers.
    Manage,
    /// Commands that show containers, images or the engine.
    Inspect,
    /// Commands for images and for the registry that they come from.
    Images,
    /// Commands that only systemd units call; they are not on the help page.
    Hidden,
}

/// Program that carries out a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// edge-docker itself, with code of its own for the command.
    EdgeDocker,
    /// Docker's client, which receives only the listed options and the checked arguments.
    DockerClient,
}

/// Number and form of the arguments that a command accepts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arguments {
    /// No arguments at all, but possibly options.
    None,
    /// Names of containers, at least one.
    Containers,
    /// Name of a container, then arguments for which the function returns true.
    ContainerAnd(fn(&str) -> bool),
    /// Minimum and maximum number of arguments, and the text of the error for another
    /// number.
    Count(usize, usize, &'static str),
    /// Any arguments: either the command checks them itself, or docker's client receives
    /// them after `--`, so that none is read as an option.
    Any,
    /// Unparsed arguments, which the command parses with the options of `run`.
    Raw,
}

/// Table entry of a command, by which its arguments are parsed and its help is printed.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Name as typed on the command line; `system df` is one name.
    pub name: &'static str,
    /// Old names, which systemd units and scripts may still use.
    pub(crate) aliases: &'static [&'static str],
    /// Names in docker's command groups, for example `("container", "ls")`.
    pub(crate) groups: &'static [(&'static str, &'static str)],
    /// Group of the help page that lists the command.
    pub(crate) section: Section,
    /// Usage forms of the command, each with its help text.
    pub(crate) forms: &'static [(&'static str, &'static str)],
    /// Accepted options; those of `run` are in a table of their own.
    pub(crate) options: &'static [Known],
    /// Number and form of the accepted arguments.
    pub(crate) arguments: Arguments,
    /// Position of the options: only before the arguments, or anywhere.
    pub(crate) order: Order,
    /// Program that carries out the command: edge-docker or docker's client.
    pub(crate) carrier: Carrier,
    /// Level that the caller needs. Forms of a command with another level are in
    /// [`crate::cli::levels`].
    pub(crate) level: Level,
}

impl Entry {
    /// Returns an entry of a command that edge-docker itself carries out.
    pub(crate) const fn own(
        name: &'static str,
        section: Section,
        forms: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self {
            name,
            aliases: &[],
            groups: &[],
            section,
            forms,
            options: &[],
            arguments: Arguments::None,
            // Docker's client accepts options after arguments, too, for example `logs
            // NAME -f`.
            order: Order::Mixed,
            carrier: Carrier::EdgeDocker,
            // The highest level, so that a new command is not open by an oversight.
            level: Level::Debug,
        }
    }

    /// Returns an entry of a command that docker's client carries out.
    pub(crate) const fn client(
        name: &'static str,
        section: Section,
        forms: &'static [(&'static str, &'static str)],
    ) -> Self {
        let mut entry = Self::own(name, section, forms);
        entry.carrier = Carrier::DockerClient;
        entry
    }

    /// Returns whether only systemd units call the command, which help pages therefore
    /// omit.
    pub fn is_hidden(&self) -> bool {
        self.section == Section::Hidden
    }

    /// Lowers the level to the one of commands that change nothing.
    pub(crate) const fn look(mut self) -> Self {
        self.level = Level::Look;
        self
    }

    /// Lowers the level to the one of commands that run, stop and remove what was signed.
    pub(crate) const fn operate(mut self) -> Self {
        self.level = Level::Operate;
        self
    }

    /// Returns whether the command changes nothing, so that the ledger does not record
    /// it.
    pub fn only_looks(&self) -> bool {
        self.level == Level::Look
    }

    pub(crate) const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    pub(crate) const fn groups(mut self, groups: &'static [(&'static str, &'static str)]) -> Self {
        self.groups = groups;
        self
    }

    pub(crate) const fn options(mut self, options: &'static [Known]) -> Self {
        self.options = options;
        self
    }

    pub(crate) const fn takes(mut self, arguments: Arguments) -> Self {
        self.arguments = arguments;
        self
    }

    /// Ends the options at the first argument, because later ones belong to another
    /// program, for example in `exec NAME ls -l`.
    pub(crate) const fn options_first(mut self) -> Self {
        self.order = Order::OptionsFirst;
        self
    }

    /// Parses the options and arguments that follow the name of the command.
    ///
    /// # Errors
    /// An option or argument is refused because the entry does not permit it.
    pub fn parse<'a>(&self, args: &[&'a str]) -> Result<Parsed<'a>> {
        // The command itself parses these arguments with the table of the options of
        // `run`, in which each refused option has a reason.
        if matches!(self.arguments, Arguments::Raw) {
            return Ok(Parsed {
                options: Vec::new(),
                arguments: args.to_vec(),
            });
        }
        let refusal = |option: &str| format!("{}: option {option} is refused", self.name);
        let parsed = args::parse(self.options, args, self.order, refusal)?;
        for (option, value) in &parsed.options {
            client_values::check(self.name, option, value)?;
        }
        self.check(&parsed.arguments)?;
        Ok(parsed)
    }

    fn check(&self, args: &[&str]) -> Result<()> {
        let name = self.name;
        let takes = |what: &str| Err(refuse(format_args!("{name} takes {what}")));
        match self.arguments {
            Arguments::None if args.is_empty() => Ok(()),
            Arguments::None if self.options.is_empty() => takes("no arguments"),
            Arguments::None => takes("options only"),
            Arguments::Containers | Arguments::ContainerAnd(_) if args.is_empty() => {
                takes("the name of a container")
            }
            // Names have a strict form because they become part of a URI and of a command
            // line.
            Arguments::Containers => args
                .iter()
                .try_for_each(|arg| values::name(name, arg).map(drop)),
            Arguments::ContainerAnd(permitted) => {
                values::name(name, args[0])?;
                match args[1..].iter().find(|arg| !permitted(arg)) {
                    Some(arg) => Err(refuse(format_args!("{name}: {arg:?} is refused"))),
                    None => Ok(()),
                }
            }
            Arguments::Count(least, most, what) if !(least..=most).contains(&args.len()) => {
                takes(what)
            }
            Arguments::Count(..) | Arguments::Any | Arguments::Raw => Ok(()),
        }
    }
}
