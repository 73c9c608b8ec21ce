//! Words for a shell.

/// Words for a POSIX shell: each in single quotes, which hold everything but
/// themselves.
pub fn quote<'a, T: AsRef<str> + 'a>(words: impl Iterator<Item = &'a T>) -> String {
    let quoted: Vec<_> = words
        .map(|w| format!("'{}'", w.as_ref().replace('\'', r"'\''")))
        .collect();
    quoted.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_common::Root;
    use edge_common::command::CommandExt as _;

    #[test]
    fn a_shell_gives_quoted_words_back() {
        let words = [
            "plain",
            "",
            "a b",
            "$(id)",
            "`id`",
            "'",
            "\"",
            "\\",
            "a\nb",
            "; rm -rf /",
            "*",
            "~",
            "!x",
            "-oProxyCommand=id",
            "é",
            "'; id #",
            "a'b'c",
        ];
        let script = format!("printf '%s\\0' {}", quote(words.iter()));
        let said = Root::system()
            .command("/bin/sh")
            .args(["-c", &script])
            .read()
            .unwrap();
        assert_eq!(said.split_terminator('\0').collect::<Vec<_>>(), words);
    }
}
