use super::*;

fn judged(text: &str) -> Result<Vec<String>> {
    let given = [("BASE".to_string(), "sandbox/given".to_string())].into();
    let dockerfile = Dockerfile::parse(text.as_bytes(), &given)?;
    Ok(dockerfile.bases.into_iter().map(|b| b.image).collect())
}

#[test]
fn ordinary_dockerfiles_pass() {
    for (text, bases) in [
        ("FROM scratch\nCOPY a /a\nCMD [\"/a\"]\n", &[][..]),
        (
            "FROM sandbox/a\nADD a.tar.gz /\nADD [\"a b\", \"/c\"]\n",
            &["sandbox/a"],
        ),
        (
            "FROM sandbox/a AS build\nRUN make\nFROM scratch\nCOPY --from=build /a /a\nCOPY --from=0 b /",
            &["sandbox/a"],
        ),
        ("ARG BASE=x\nFROM ${BASE}\n", &["sandbox/given"]),
        (
            "ARG V=1\nFROM sandbox/a:$V as x\nFROM x\n",
            &["sandbox/a:1"],
        ),
        (
            "# a comment\nfrom sandbox/a\nrun a \\\n  b \\\n# c\n  d\n",
            &["sandbox/a"],
        ),
        ("FROM sandbox/a\r\nRUN a \\\r\n b\r\n", &["sandbox/a"]),
        (
            "FROM sandbox/a\nRUN a \\\n    # why\n    b\nENV X=http://a\n",
            &["sandbox/a"],
        ),
        ("# escape=\\\nFROM --platform=linux/arm64 scratch\n", &[]),
        (
            "FROM scratch\nCOPY --chown=1:1 --chmod=755 a /\nRUN curl http://example.com\n",
            &[],
        ),
        ("FROM \\\n  sandbox/a \\\n  AS x\nLABEL a=b", &["sandbox/a"]),
    ] {
        assert_eq!(
            judged(text).unwrap_or_else(|e| panic!("{text}: {e}")),
            bases,
            "{text}"
        );
    }
}

#[test]
fn hostile_dockerfiles_are_refused() {
    for text in [
        "",
        "COPY a /",
        "FROM",
        "FROM a b",
        "FROM scratch\nADD http://127.0.0.1:8000/secret /s",
        "FROM scratch\nadd HTTPS://x /s",
        "FROM scratch\nADD [\"http://x\", \"/s\"]",
        "FROM scratch\nADD [\"\\u0068ttp://x\", \"/s\"]",
        "FROM scratch\nADD [\"http:\\\\/\\\\/x\", \"/s\"]",
        "FROM scratch\nENV U=http://x\nADD $U /s",
        "FROM scratch\nADD ${U} /s",
        "FROM scratch\nADD ht\"\"tp://x /s",
        "FROM scratch\nADD http:\\/\\/x /s",
        "FROM scratch\nADD a http\\\n://x /s",
        "FROM scratch\nADD \\\n  http://x /s",
        "FROM scratch\nADD --chown=1 http://x /s",
        "FROM scratch\nADD --checksum=sha256:0 a /s",
        "FROM scratch\nADD git@github.com:a/b /s",
        "FROM scratch\nADD git://a/b /s",
        "FROM scratch\n\tADD\thttp://x\t/s",
        "FROM scratch\n\u{a0}ADD http://x /s",
        "FROM scratch\nRUN a\rADD http://x /s",
        "FROM scratch\nRUN a \\\n  # x\nADD http://x /s",
        "FROM scratch\nONBUILD ADD http://x /s",
        "FROM scratch\nCOPY --from=alpine /a /",
        "FROM scratch\nCOPY --from=1 /a /",
        "FROM scratch\nCOPY --from=$X /a /",
        "FROM scratch\nCOPY --fro\\m=alpine /a /",
        "FROM scratch\nCOPY --chown=1 --from=r.io/edge-ai:x /a /",
        "FROM scratch\nRUN --mount=type=bind,from=alpine ls",
        "FROM scratch\nRUN --network=host ls",
        "FROM scratch\nRUN --security=insecure ls",
        "FROM scratch\nIMPORT x",
        "FROM $NOTHING",
        "ARG A=\"x\"\nFROM $A",
        "ARG A\nFROM ${A:-alpine}",
        "FROM sandbox/\\a",
        "FROM \"alpine\"",
        "FROM --platform=$P scratch",
        "# syntax=docker/dockerfile:1\nFROM scratch",
        "#  Syntax = x\nFROM scratch",
        "# escape=`\nFROM scratch\nRUN a `\nADD http://x /s",
        "FROM scratch\nRUN a\0b",
    ] {
        assert!(judged(text).is_err(), "{text:?}");
    }
    assert!(judged(&format!("FROM scratch\n{}", " ".repeat(MAX_BYTES))).is_err());
    assert!(Dockerfile::parse(b"FROM \xff", &BTreeMap::new()).is_err());
}

#[test]
fn images_become_ids() {
    let text = "ARG V=1\nFROM sandbox/a:$V \\\n  AS x\nRUN a\nFROM x\nFROM sandbox/b\n";
    let dockerfile = Dockerfile::parse(text.as_bytes(), &BTreeMap::new()).unwrap();
    let ids = ["sha256:1".to_string(), "sha256:2".to_string()];
    assert_eq!(
        dockerfile.with_ids(&ids),
        "ARG V=1\nFROM sha256:1 AS x\n\nRUN a\nFROM x\nFROM sha256:2\n"
    );
}
