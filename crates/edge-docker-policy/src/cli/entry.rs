//! Entry of a command in the table of commands.

use anyhow::Result;

use crate::cli::args::{self, Known, Order, Parsed};
use crate::cli::values;
use crate::refusal::refuse;

/// Section of the help page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    /// Creating, deploying and entering containers.
    Run,
    /// Starting, stopping and removing containers.
    Manage,
    /// Looking at containers, images and the engine.
    Inspect,
    /// Images, and the registry that they come from.
    Images,
    /// Called by units, on no help page.
    Hidden,
}

/// Program that carries a command out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// edge-docker, through the engine's API.
    EdgeDocker,
    /// Docker's client, which gets the listed options and arguments.
    DockerClient,
}

/// Arguments that a command takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arguments {
    /// None.
    None,
    /// Names of containers, at least one.
    Containers,
    /// Name of a container, and arguments that all pass a check.
    ContainerAnd(fn(&str) -> bool),
    /// At least and at most so many, with the text of the error.
    Count(usize, usize, &'static str),
    /// Any: judged by the command, or passed to docker's client, to which they are
    /// no options.
    Any,
    /// A command line of its own, with the options of `run`.
    Raw,
}

/// Entry of a command.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Name as it is typed; `system df` is one name.
    pub name: &'static str,
    /// Old names, which units and scripts may still use.
    pub(crate) aliases: &'static [&'static str],
    /// Names inside docker's command groups, such as `container ls`.
    pub(crate) groups: &'static [(&'static str, &'static str)],
    /// Section of the help page.
    pub(crate) section: Section,
    /// Forms of the command with one line of help each.
    pub(crate) forms: &'static [(&'static str, &'static str)],
    /// Options, apart from those of `run`.
    pub(crate) options: &'static [Known],
    /// Arguments.
    pub(crate) arguments: Arguments,
    /// Placement of options.
    pub(crate) order: Order,
    /// Program that carries the command out.
    pub(crate) carrier: Carrier,
}

impl Entry {
    /// Returns a command of edge-docker itself.
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
            // As docker's client, which takes `logs NAME -f` too.
            order: Order::Mixed,
            carrier: Carrier::EdgeDocker,
        }
    }

    /// Returns a command that docker's client carries out.
    pub(crate) const fn client(
        name: &'static str,
        section: Section,
        forms: &'static [(&'static str, &'static str)],
    ) -> Self {
        let mut entry = Self::own(name, section, forms);
        entry.carrier = Carrier::DockerClient;
        entry
    }

    /// Tells whether units, not people, call the command.
    pub fn is_hidden(&self) -> bool {
        self.section == Section::Hidden
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

    /// Ends the options at the first argument: what follows is no option of docker's.
    pub(crate) const fn options_first(mut self) -> Self {
        self.order = Order::OptionsFirst;
        self
    }

    /// Parses the options and arguments behind the name.
    ///
    /// # Errors
    /// Refusal of an option or argument that is not listed.
    pub fn parse<'a>(&self, args: &[&'a str]) -> Result<Parsed<'a>> {
        // Parsed later, by the table of `run`, where each refused option has its own reason.
        if matches!(self.arguments, Arguments::Raw) {
            return Ok(Parsed {
                options: Vec::new(),
                arguments: args.to_vec(),
            });
        }
        let refusal = |option: &str| format!("{}: option {option} is refused", self.name);
        let parsed = args::parse(self.options, args, self.order, refusal)?;
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
            // In a strict form: a name becomes a part of a URI and of a command line.
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
