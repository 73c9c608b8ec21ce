//! Reading of the keys of `app.yaml` into a run specification.

use std::collections::BTreeMap;

use edge_docker_policy::run_spec::{RunSpec, Unit};

use super::{ReadFile, Spec};
use crate::env_file;
use crate::fields::Fields;
use crate::keys::{APP, ENV_FILE, RESOURCES};
use crate::values::environment::{self, Variable, variables};
use crate::values::mapping::Mapping;
use crate::values::scalar::{
    app_name, boolean, bytes, capabilities, cpus, number, option, options, seconds, shm_bytes,
};
use crate::values::{health, hosts, labels, mounts, ports, program, settings};
use crate::yaml::{Node, Place, Problem, Value};

/// Limit of signed variables, those of files included.
const MAX_VARIABLES: usize = 500;
/// Limit of files that `env_file` names.
const MAX_ENV_FILES: usize = 16;

/// Reader of one `app.yaml`, with the warnings found so far.
pub(super) struct Reader<'r> {
    read: &'r ReadFile<'r>,
    warnings: Vec<Problem>,
}

impl<'r> Reader<'r> {
    pub(super) fn new(read: &'r ReadFile<'r>) -> Self {
        Self {
            read,
            warnings: Vec::new(),
        }
    }

    pub(super) fn spec(mut self, tree: &Node, file: &str) -> Result<Spec, Vec<Problem>> {
        let mut fields = Fields::new(tree, &APP).map_err(|problem| vec![problem])?;
        let places = places(tree);
        let has_name = fields.has("name");
        let Some(name) = fields.read(&["name"], app_name) else {
            if !has_name {
                fields.report(tree.problem("`name` is missing: the name of this directory"));
            }
            // The other mistakes are worth reading, too.
            return Err(self
                .rest(fields, RunSpec::default())
                .err()
                .unwrap_or_default());
        };
        let (run, volumes, sync) = self.rest(fields, RunSpec::new(&name))?;
        let whole = Spec {
            run,
            volumes,
            sync,
            warnings: Vec::new(),
            places,
            file: file.into(),
        };
        whole.check().map_err(|problem| vec![problem])?;
        self.warnings.sort_by_key(|warning| warning.place);
        let warnings = self.warnings.iter().map(|w| super::at(file, w));
        Ok(Spec {
            warnings: warnings.collect(),
            ..whole
        })
    }

    /// Reads every key but `name`.
    fn rest(
        &mut self,
        mut fields: Fields<'_>,
        mut run: RunSpec,
    ) -> Result<(RunSpec, Vec<crate::Volume>, Vec<Mapping>), Vec<Problem>> {
        self.program(&mut fields, &mut run);
        self.environment(&mut fields, &mut run);
        self.network(&mut fields, &mut run);
        let volumes = mounts(&mut fields, &mut run);
        limits(&mut fields, &mut run);
        permissions(&mut fields, &mut run);
        operation(&mut fields, &mut run);
        let sync = fields.read(&["sync"], mappings).unwrap_or_default();
        fields.finish()?;
        Ok((run, volumes, sync))
    }

    fn program(&mut self, fields: &mut Fields<'_>, run: &mut RunSpec) {
        let words = program::arguments;
        run.command = fields.read(&["command"], words).unwrap_or_default();
        run.entrypoint = fields.read(&["entrypoint"], words);
        let text = |fields: &mut Fields<'_>, name: &'static str, flag: &str| {
            let text = fields.read(&[name], |n| option(n, flag));
            text.unwrap_or_default()
        };
        run.user = text(fields, "user", "user");
        run.stop_signal = text(fields, "stop_signal", "stop-signal");
        run.working_dir = text(fields, "working_dir", "workdir");
        run.group_add = fields
            .read(&["group_add"], |n| options(n, "group-add"))
            .unwrap_or_default();
        run.init = fields.read(&["init"], boolean).unwrap_or(false);
        run.tty = fields.read(&["tty"], boolean).unwrap_or(false);
        run.read_only = fields.read(&["read_only"], boolean).unwrap_or(false);
        run.stop_grace_period = fields.read(&["stop_grace_period"], seconds);
        run.commands = fields
            .read(&["commands"], program::commands)
            .unwrap_or_default();
    }

    fn environment(&mut self, fields: &mut Fields<'_>, run: &mut RunSpec) {
        let files = fields.read(&["env_file"], |n| self.env_files(n));
        let written = fields.read(&["environment", "env"], variables);
        // As in compose files, what app.yaml says itself has precedence.
        let mut all: BTreeMap<String, Variable> = BTreeMap::new();
        for variable in files.into_iter().chain(written).flatten() {
            all.insert(variable.name.clone(), variable);
        }
        if let Some(last) = all.values().nth(MAX_VARIABLES) {
            let text = format!("more than {MAX_VARIABLES} variables");
            fields.report(Problem::new(last.place, text));
        }
        let warnings = all.values().flat_map(environment::warnings);
        self.warnings.extend(warnings);
        let pairs = all.into_values().map(|v| (v.name, v.value));
        run.environment = pairs.collect();
    }

    /// Reads the files that `env_file` names, the later ones with precedence.
    fn env_files(&self, node: &Node) -> Result<Vec<Variable>, Problem> {
        let entries = match &node.value {
            Value::List(entries) => &entries[..],
            _ => std::slice::from_ref(node),
        };
        if entries.len() > MAX_ENV_FILES {
            return Err(node.problem(format_args!("at most {MAX_ENV_FILES} files")));
        }
        let mut variables = Vec::new();
        for entry in entries {
            let (path, required) = env_file_entry(entry)?;
            let text = (self.read)(&path).map_err(|why| entry.problem(why))?;
            let Some(text) = text else {
                if required {
                    return Err(entry.problem(format_args!("there is no file {path:?}")));
                }
                continue;
            };
            let parsed = env_file::parse(&text).map_err(|problem| {
                let Place { line, column } = problem.place;
                entry.problem(format_args!("{path}:{line}:{column}: {}", problem.text))
            })?;
            variables.extend(parsed.into_iter().map(|(name, value)| Variable {
                place: entry.place,
                name,
                value,
            }));
        }
        Ok(variables)
    }

    fn network(&mut self, fields: &mut Fields<'_>, run: &mut RunSpec) {
        let ports = fields.read(&["ports"], ports::ports).unwrap_or_default();
        self.warnings
            .extend(ports.iter().filter_map(ports::Port::warning));
        run.ports = ports.iter().map(ports::Port::canonical).collect();
        let expose = fields.read(&["expose"], ports::exposed);
        run.expose = expose.unwrap_or_default();
        let hostname = fields.read(&["hostname"], hosts::hostname);
        run.hostname = hostname.unwrap_or_default();
        let hosts = fields.read(&["extra_hosts"], hosts::extra_hosts);
        run.extra_hosts = hosts.unwrap_or_default();
        let dns = fields.read(&["dns"], |n| options(n, "dns"));
        run.dns = dns.unwrap_or_default();
    }
}

/// Returns the positions of the keys at the top.
fn places(tree: &Node) -> BTreeMap<&'static str, Place> {
    let entries = tree.map().unwrap_or_default();
    let known = |key: &crate::yaml::Key| Some((APP.find(&key.text)?, key.place));
    entries.iter().filter_map(|(key, _)| known(key)).collect()
}

fn env_file_entry(node: &Node) -> Result<(String, bool), Problem> {
    let Value::Map(_) = node.value else {
        return Ok((node.text()?.into(), true));
    };
    let mut fields = Fields::new(node, &ENV_FILE)?;
    let path = fields.read(&["path"], |n| n.text().map(str::to_string));
    let required = fields.read(&["required"], boolean).unwrap_or(true);
    fields.first()?;
    let path = path.ok_or_else(|| node.problem("`path` is missing"))?;
    Ok((path, required))
}

fn mounts(fields: &mut Fields<'_>, run: &mut RunSpec) -> Vec<crate::Volume> {
    let mut all = fields
        .read(&["volumes"], mounts::volumes)
        .unwrap_or_default();
    all.extend(fields.read(&["tmpfs"], mounts::tmpfs).unwrap_or_default());
    match mounts::divided(all) {
        Ok((volumes, memory)) => {
            run.volumes = volumes.iter().map(crate::Volume::in_run_spec).collect();
            run.tmpfs = memory;
            volumes
        }
        Err(problem) => {
            fields.report(problem);
            Vec::new()
        }
    }
}

/// Reads the limits, and `resources`, which has other spellings of three of them.
fn limits(fields: &mut Fields<'_>, run: &mut RunSpec) {
    let mut short = (None, None, None);
    fields.read(&["resources"], |n| {
        let mut inner = Fields::new(n, &RESOURCES)?;
        short.0 = inner.find(&["memory"], bytes);
        short.1 = inner.find(&["cpus"], cpus);
        short.2 = inner.find(&["pids"], pids);
        inner.first()
    });
    let memory = fields.find(&["mem_limit"], bytes);
    run.mem_limit = fields.one_of(memory, short.0).unwrap_or(0);
    let processors = fields.find(&["cpus"], cpus);
    run.cpus = fields.one_of(processors, short.1).unwrap_or(0);
    let processes = fields.find(&["pids_limit"], pids);
    run.pids_limit = fields.one_of(processes, short.2).unwrap_or(0);
    let cpuset = fields.read(&["cpuset"], |n| option(n, "cpuset-cpus"));
    run.cpuset = cpuset.unwrap_or_default();
    run.shm_size = fields.read(&["shm_size"], shm_bytes).unwrap_or(0);
    let storage = fields.read(&["storage"], settings::storage);
    (run.storage, run.storage_owner) = storage.unwrap_or_default();
    let ulimits = fields.read(&["ulimits"], settings::ulimits);
    run.ulimits = ulimits.unwrap_or_default();
}

fn pids(node: &Node) -> Result<i64, Problem> {
    option(node, "pids-limit")?;
    number(node, 1..=i64::MAX)
}

fn permissions(fields: &mut Fields<'_>, run: &mut RunSpec) {
    let capabilities = |name: &'static str| move |n: &Node| capabilities(n, name);
    let add = fields.read(&["cap_add"], capabilities("cap-add"));
    run.cap_add = add.unwrap_or_default();
    let drop = fields.read(&["cap_drop"], capabilities("cap-drop"));
    run.cap_drop = drop.unwrap_or_default();
    let grants = fields.read(&["grants"], settings::grants);
    run.grants = grants.unwrap_or_default();
    let mode = fields.read(&["network_mode"], |n| {
        let mode = hosts::network_mode(n)?;
        match mode == "host" && run.grants.is_empty() {
            true => Err(n.problem("host needs a grant such as host-network in `grants`")),
            false => Ok(mode),
        }
    });
    run.network_mode = mode.unwrap_or_default();
    let sysctls = fields.read(&["sysctls"], settings::sysctls);
    run.sysctls = sysctls.unwrap_or_default();
    let root = fields.read(&["root"], |n| {
        let names = settings::grants(n)?;
        match names.iter().find(|name| !run.grants.contains(name)) {
            Some(name) => Err(n.problem(format_args!("{name:?} is not in `grants`"))),
            None => Ok(names),
        }
    });
    run.root = root.unwrap_or_default();
}

fn operation(fields: &mut Fields<'_>, run: &mut RunSpec) {
    run.healthcheck = fields.read(&["healthcheck", "health"], health::healthcheck);
    run.logging = fields.read(&["logging"], health::logging);
    let labels = fields.read(&["labels"], labels::labels);
    run.labels = labels.unwrap_or_default();
    run.requires = fields.read(&["requires"], settings::requires);
    run.unit = fields.read(&["unit"], settings::unit);
    // Without a value, the mapping says nothing, and a run specification omits it.
    run.logging.take_if(|l| *l == Default::default());
    run.requires.take_if(|r| *r == Default::default());
    run.unit.take_if(|u| *u == Unit::default());
    let timed = run.unit.as_ref().is_some_and(|u| !u.timer.is_empty());
    let restart = fields.find(&["restart"], settings::restart);
    if let Some(found) = &restart
        && timed
        && ["always", "unless-stopped"].contains(&found.value.as_str())
    {
        let text = "an app with a timer ends by itself: write `no` or `on-failure`";
        fields.report(Problem::new(found.place, text));
    }
    let default = if timed { "" } else { "unless-stopped" };
    run.restart = restart.map_or_else(|| default.into(), |found| found.value);
}

fn mappings(node: &Node) -> Result<Vec<Mapping>, Problem> {
    let mapping = |entry: &Node| {
        let text = entry.text()?.to_string();
        Mapping::try_from(text).map_err(|why| entry.problem(why))
    };
    node.list()?.iter().map(mapping).collect()
}
