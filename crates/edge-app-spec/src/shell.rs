//! Quoting of command arguments for the POSIX shell of a device.

/// Puts each argument in single quotes and joins all with blanks. ssh passes a
/// command to the shell of the device as one line, and that shell would interpret
/// every unquoted special character. Inside single quotes every character except
/// `'` is literal.
pub fn quote<'a, T: AsRef<str> + 'a>(arguments: impl Iterator<Item = &'a T>) -> String {
    let quoted: Vec<_> = arguments
        .map(|a| format!("'{}'", a.as_ref().replace('\'', r"'\''")))
        .collect();
    quoted.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_common::Root;
    use edge_common::command::CommandExt as _;

    #[test]
    fn a_shell_returns_quoted_arguments() {
        let arguments = [
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
        let script = format!("printf '%s\\0' {}", quote(arguments.iter()));
        let output = Root::system()
            .command("/bin/sh")
            .args(["-c", &script])
            .read()
            .unwrap();
        assert_eq!(output.split_terminator('\0').collect::<Vec<_>>(), arguments);
    }
}
