//! Decision on the Dockerfile of `build`.
//!
//! The engine carries out a build as root and with the device's network: `ADD` of a URL
//! reaches the device's own services, and an image that is not on the device is pulled
//! from the public hub. Only what cannot do that passes. Text that the engine might read
//! in another way than this parser is refused: quotes and escapes where a source or an
//! image stands, parser directives, and unknown instructions.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::refusal::refuse;

/// Size limit of a Dockerfile, in bytes.
pub const MAX_BYTES: usize = 256 * 1024;
/// Characters with a meaning for the engine's expansion of variables and quotes.
const EXPANDED: [char; 5] = ['$', '\\', '"', '\'', '`'];

/// Image that a Dockerfile builds on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Reference, with arguments of the build in the place of variables.
    pub image: String,
    /// First and last number of the physical lines of its `FROM`, from 0.
    lines: (usize, usize),
    /// Words behind the image, for example ` AS build`.
    rest: String,
}

/// Dockerfile without an instruction that is refused; the images are to be judged.
#[derive(Debug)]
pub struct Dockerfile<'a> {
    lines: Vec<&'a str>,
    /// Images from which stages begin, without `scratch` and earlier stages.
    pub bases: Vec<Base>,
}

impl<'a> Dockerfile<'a> {
    /// Parses a Dockerfile and judges its instructions; `arguments` are those of
    /// `--build-arg`.
    ///
    /// # Errors
    /// An instruction is refused; the text names line and reason.
    pub fn parse(text: &'a [u8], arguments: &BTreeMap<String, String>) -> Result<Self> {
        if text.len() > MAX_BYTES {
            return Err(refuse("build: the Dockerfile is larger than 256 KiB"));
        }
        let text = std::str::from_utf8(text);
        let text = text.map_err(|_| refuse("build: the Dockerfile is not UTF-8"))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut judge = Judge {
            given: arguments,
            arguments: BTreeMap::new(),
            stages: Vec::new(),
            bases: Vec::new(),
        };
        let lines: Vec<&str> = text.split('\n').collect();
        for instruction in instructions(&lines)? {
            let number = instruction.lines.0 + 1;
            let judged = judge.instruction(&instruction);
            judged.map_err(|why| refuse(format_args!("build: line {number}: {why}")))?;
        }
        if judge.stages.is_empty() {
            return Err(refuse("build: the Dockerfile has no FROM"));
        }
        let bases = judge.bases;
        Ok(Self { lines, bases })
    }

    /// Returns the Dockerfile with an image ID, from `ids` in the order of the bases, in
    /// the place of each image: a name could be moved to another image until the engine
    /// reads it.
    pub fn with_ids(&self, ids: &[String]) -> String {
        let mut lines: Vec<String> = self.lines.iter().map(ToString::to_string).collect();
        for (base, id) in self.bases.iter().zip(ids) {
            let (first, last) = base.lines;
            lines[first] = format!("FROM {id}{}", base.rest);
            lines[first + 1..=last].fill(String::new());
        }
        lines.join("\n")
    }
}

/// Instruction with its continuation lines joined.
struct Instruction {
    /// First and last number of its physical lines, from 0.
    lines: (usize, usize),
    name: String,
    rest: String,
}

/// Splits the text into instructions, as the engine does.
fn instructions(lines: &[&str]) -> Result<Vec<Instruction>> {
    let mut found = Vec::new();
    let mut open: Option<((usize, usize), String)> = None;
    for (number, line) in lines.iter().enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let trimmed = line.trim_start_matches([' ', '\t']);
        if let Some(comment) = trimmed.strip_prefix('#') {
            if open.is_none() && found.is_empty() {
                directive(comment)?;
            }
            // Older engines end an instruction at an indented comment, newer ones do not.
            if open.is_some() && trimmed.len() < line.len() {
                hidden(&lines[number + 1..])?;
            }
            continue;
        }
        if trimmed.trim_end_matches([' ', '\t', '\r']).is_empty() {
            continue;
        }
        let (mut at, mut text) = open.take().unwrap_or(((number, number), String::new()));
        at.1 = number;
        let end = line.trim_end_matches([' ', '\t']);
        match end.strip_suffix('\\') {
            Some(part) => {
                text.push_str(part);
                open = Some((at, text));
            }
            None => {
                text.push_str(line);
                found.push(split(at, &text)?);
            }
        }
    }
    if let Some((at, text)) = open.filter(|(_, text)| !text.trim().is_empty()) {
        found.push(split(at, &text)?);
    }
    Ok(found)
}

fn split(lines: (usize, usize), text: &str) -> Result<Instruction> {
    let refused = |c: char| c.is_control() && c != '\t';
    if text.contains(refused) {
        let number = lines.0 + 1;
        return Err(refuse(format_args!(
            "build: line {number}: control characters"
        )));
    }
    let text = text.trim_matches([' ', '\t']);
    let (name, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    Ok(Instruction {
        lines,
        name: name.to_ascii_uppercase(),
        rest: rest.trim_matches([' ', '\t']).into(),
    })
}

/// Refuses parser directives that change what the Dockerfile means: another program that
/// reads it, and another escape character.
fn directive(comment: &str) -> Result<()> {
    let Some((name, value)) = comment.split_once('=') else {
        return Ok(());
    };
    let value = value.trim();
    match name.trim().to_ascii_lowercase().as_str() {
        "syntax" => Err(refuse(
            "build: # syntax= is refused: it names a program that reads the Dockerfile; \
             remove the line",
        )),
        "escape" if value != "\\" => Err(refuse("build: # escape= is refused: use \\")),
        _ => Ok(()),
    }
}

/// Refuses lines behind an indented comment in a continued instruction that would be
/// instructions of their own.
fn hidden(lines: &[&str]) -> Result<()> {
    for line in lines {
        let first = line.split_whitespace().next().unwrap_or_default();
        let names = ["ADD", "FROM", "ONBUILD", "COPY", "RUN"];
        if names.iter().any(|name| first.eq_ignore_ascii_case(name)) {
            return Err(refuse(format_args!(
                "build: {first} behind an indented comment in a continued line is refused: \
                 move the comment to the first column"
            )));
        }
        if !line.trim_end().ends_with('\\') && !line.trim_start().starts_with('#') {
            return Ok(());
        }
    }
    Ok(())
}

/// State while the instructions are judged in order.
struct Judge<'a> {
    given: &'a BTreeMap<String, String>,
    /// Arguments that `FROM` may use: those before the first stage.
    arguments: BTreeMap<String, String>,
    /// Names of the stages so far, in lower case; empty for one without a name.
    stages: Vec<String>,
    bases: Vec<Base>,
}

impl Judge<'_> {
    fn instruction(&mut self, instruction: &Instruction) -> Result<(), String> {
        let rest = instruction.rest.as_str();
        match instruction.name.as_str() {
            "FROM" => self.from(instruction),
            "ARG" if self.stages.is_empty() => self.argument(rest),
            "ADD" => add(rest),
            "COPY" => self.copy(rest),
            "RUN" if rest.starts_with("--") => {
                Err("RUN with an option is refused: the engine's own builder has none".into())
            }
            "ONBUILD" => Err("ONBUILD is refused: write the instruction where it is used".into()),
            "ARG" | "CMD" | "ENTRYPOINT" | "ENV" | "EXPOSE" | "HEALTHCHECK" | "LABEL"
            | "MAINTAINER" | "RUN" | "SHELL" | "STOPSIGNAL" | "USER" | "VOLUME" | "WORKDIR" => {
                Ok(())
            }
            name => Err(format!("{name:?} is no instruction")),
        }
    }

    fn argument(&mut self, rest: &str) -> Result<(), String> {
        for argument in rest.split_whitespace() {
            let (name, default) = match argument.split_once('=') {
                Some((name, default)) => (name, Some(default.to_string())),
                None => (argument, None),
            };
            if let Some(value) = self.given.get(name).cloned().or(default) {
                self.arguments.insert(name.into(), value);
            }
        }
        Ok(())
    }

    fn from(&mut self, instruction: &Instruction) -> Result<(), String> {
        let words: Vec<&str> = instruction.rest.split_whitespace().collect();
        let words = match words.split_first() {
            Some((option, words)) if option.starts_with("--") => {
                let value = option.strip_prefix("--platform=");
                if value.is_none_or(|value| value.contains(EXPANDED)) {
                    return Err(format!("FROM {option} is refused"));
                }
                words
            }
            _ => &words[..],
        };
        let (image, name) = match words {
            [image] => (*image, ""),
            [image, word, name] if word.eq_ignore_ascii_case("as") => (*image, *name),
            _ => return Err("FROM takes IMAGE or IMAGE AS NAME".into()),
        };
        if name.contains(EXPANDED) {
            return Err(format!("FROM … AS {name} is refused"));
        }
        let image = self.expand(image)?;
        let is_stage = self.stages.contains(&image.to_ascii_lowercase());
        if image != "scratch" && !is_stage {
            let rest = match name {
                "" => String::new(),
                name => format!(" AS {name}"),
            };
            self.bases.push(Base {
                image,
                lines: instruction.lines,
                rest,
            });
        }
        self.stages.push(name.to_ascii_lowercase());
        Ok(())
    }

    /// Replaces `$NAME` and `${NAME}` by arguments from before the first stage.
    fn expand(&self, image: &str) -> Result<String, String> {
        let mut parts = image.split('$');
        let mut expanded = parts.next().unwrap_or_default().to_string();
        for part in parts {
            let (name, after) = match part.strip_prefix('{') {
                Some(part) => part.split_once('}').unwrap_or(("", "")),
                None => {
                    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    part.split_at(part.find(|c| !letter(c)).unwrap_or(part.len()))
                }
            };
            let value = self.arguments.get(name).ok_or_else(|| {
                format!("FROM {image}: {name:?} is no ARG with a value before the first FROM")
            })?;
            expanded.push_str(value);
            expanded.push_str(after);
        }
        if expanded.is_empty() || expanded.contains(EXPANDED) || !expanded.is_ascii() {
            return Err(format!("FROM {image} is refused: write the image plainly"));
        }
        Ok(expanded)
    }

    fn copy(&self, rest: &str) -> Result<(), String> {
        for option in rest.split_whitespace().take_while(|w| w.starts_with("--")) {
            match option.split_once('=') {
                Some(("--from", stage)) => {
                    let number = stage.parse::<usize>().ok();
                    let known = number.is_some_and(|n| n < self.stages.len())
                        || self.stages.contains(&stage.to_ascii_lowercase());
                    if stage.is_empty() || !known {
                        return Err(format!(
                            "COPY {option} is refused: name an earlier stage, which may \
                             begin FROM an image"
                        ));
                    }
                }
                Some(("--chown" | "--chmod", _)) => {}
                _ => return Err(format!("COPY {option} is refused")),
            }
        }
        Ok(())
    }
}

/// Judges the arguments of `ADD`: sources are files of the context.
fn add(rest: &str) -> Result<(), String> {
    let mut words = rest.split_whitespace().peekable();
    while let Some(option) = words.next_if(|word| word.starts_with("--")) {
        if !["--chown=", "--chmod="]
            .iter()
            .any(|known| option.starts_with(known))
        {
            return Err(format!("ADD {option} is refused"));
        }
    }
    let sources: String = words.collect::<Vec<_>>().join(" ");
    let list: Option<Vec<String>> = serde_json::from_str(&sources).ok();
    let plain = match &list {
        Some(list) => !list.iter().any(|word| word.contains(EXPANDED)),
        None => !sources.contains(EXPANDED),
    };
    let list = list.unwrap_or_else(|| sources.split(' ').map(String::from).collect());
    let remote = |word: &String| word.contains("://") || word.starts_with("git@");
    if !plain || list.iter().any(remote) {
        return Err(
            "ADD takes files of the context, written plainly: no URL, which the engine would \
             fetch, no variable, no quotes; or use COPY"
                .into(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
