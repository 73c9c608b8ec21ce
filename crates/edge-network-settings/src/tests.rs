use super::*;

const OFFICE: &str = r#"{"interfaces":[
    {"name":"eth0","type":"wired","mtu":1400,"ipv4":{"method":"manual",
     "addresses":["192.168.1.5/24"],"gateway":"192.168.1.1","dns":["192.168.1.1","9.9.9.9"],
     "routes":[{"to":"10.0.0.0/8","via":"192.168.1.2"}]},"ipv6":{"method":"link-local"}},
    {"name":"wlan0","type":"wifi","wifi":{"ssid":"Ä;b","security":"wpa-psk",
     "password":" s\\[ipv4]=x"}}],
    "proxy":"http://proxy.example:3128","ntp":["ntp.example.com","192.168.1.1","2001:db8::1"]}"#;

#[test]
fn keyfiles_of_a_wired_and_a_wireless_interface() {
    let settings = Settings::parse(OFFICE.as_bytes()).unwrap();
    let [(eth, wired), (wlan, wireless)] = &settings.keyfiles()[..] else {
        panic!("{settings:?}");
    };
    assert_eq!(
        (eth.as_str(), wlan.as_str()),
        ("edge-eth0.nmconnection", "edge-wlan0.nmconnection")
    );
    assert_eq!(
        wired,
        "[connection]\nid=edge-eth0\ntype=ethernet\ninterface-name=eth0\n\
         autoconnect-priority=100\nautoconnect-retries=0\n\n[ethernet]\nmtu=1400\n\n\
         [ipv4]\nmethod=manual\naddress1=192.168.1.5/24\ngateway=192.168.1.1\n\
         dns=192.168.1.1;9.9.9.9;\nroute1=10.0.0.0/8,192.168.1.2\ndad-timeout=3000\n\n\
         [ipv6]\nmethod=link-local\n"
    );
    // Neither name nor password begins another section or key.
    assert!(wireless.contains("ssid=195;132;59;98;\n"), "{wireless}");
    assert!(
        wireless.contains("key-mgmt=wpa-psk\npsk=\\ss\\\\[ipv4]=x\n"),
        "{wireless}"
    );
    assert_eq!(wireless.matches("[ipv4]\n").count(), 1);
    let json = serde_json::to_vec(&settings).unwrap();
    assert_eq!(Settings::parse(&json).unwrap(), settings);
}

#[test]
fn passwords_are_neither_shown_nor_quoted() {
    let settings = Settings::parse(OFFICE.as_bytes()).unwrap();
    let shown = serde_json::to_string(&settings.without_passwords()).unwrap();
    let debugged = format!("{settings:?}");
    for text in [&shown, &debugged] {
        assert!(!text.contains("=x") && text.contains("Ä;b"), "{text}");
    }
    for wrong in [
        r#"{"interfaces":[{"name":"w","type":"wifi","wifi":{"ssid":"a","security":"wpa-psk","password":"hunter2"}}]}"#,
        r#"{"interfaces":[{"name":"w","type":"wifi","wifi":{"ssid":"a","security":"open","password":"hunter2hunter2"}}]}"#,
        r#"{"interfaces":[{"name":"w","type":"wifi","wifi":{"ssid":"a","security":"sae","password":["hunter2"]}}]}"#,
        r#"{"interfaces":[{"name":"w","type":"wifi","wifi":"hunter2"}]}"#,
        r#"{"interfaces":"hunter2"}"#,
        r#"{"proxy":"http://u:hunter2@proxy:1"}"#,
    ] {
        let error = format!("{:#}", Settings::parse(wrong.as_bytes()).unwrap_err());
        assert!(!error.contains("hunter2"), "{error}");
    }
}

/// Settings of `eth0` with these values of IPv4.
fn wired(ipv4: &str) -> String {
    format!(r#"{{"interfaces":[{{"name":"eth0","type":"wired","ipv4":{ipv4}}}]}}"#)
}

fn refused(json: &str, part: &str) {
    let error = match Settings::parse(json.as_bytes()) {
        Ok(_) => panic!("accepted: {json}"),
        Err(error) => format!("{error:#}"),
    };
    assert!(error.contains(part), "{json}: {error}");
    assert!(!error.contains('\n'), "{error}");
}

/// Values beside `"method":"manual"`, and a part of the error.
const WRONG_ADDRESSES: &[(&str, &str)] = &[
    (r#""addresses":[]"#, "needs one"),
    (
        r#""addresses":["192.168.1.5"]"#,
        "not a value of the documented form",
    ),
    (r#""addresses":["192.168.1.5/33"]"#, "documented form"),
    (r#""addresses":["192.168.1.5/+8"]"#, "documented form"),
    (
        r#""addresses":["192.168.1.0/24"]"#,
        "the network or its broadcast",
    ),
    (
        r#""addresses":["192.168.1.255/24"]"#,
        "the network or its broadcast",
    ),
    (r#""addresses":["127.0.0.2/8"]"#, "no address of a host"),
    (r#""addresses":["224.0.0.2/8"]"#, "no address of a host"),
    (r#""addresses":["0.0.0.0/0"]"#, "no address of a host"),
    (r#""addresses":["2001:db8::5/64"]"#, "other family"),
    (
        r#""addresses":["10.0.0.5/24","10.0.0.5/16"]"#,
        "given twice",
    ),
    (
        r#""addresses":["10.0.0.5/24"],"gateway":"10.0.1.1""#,
        "network of none",
    ),
    (
        r#""addresses":["10.0.0.5/24"],"gateway":"10.0.0.5""#,
        "own address",
    ),
    (
        r#""addresses":["10.0.0.5/24"],"gateway":"10.0.0.255""#,
        "broadcast",
    ),
    (
        r#""addresses":["10.0.0.5/24"],"gateway":"fe80::1""#,
        "other family",
    ),
    (
        r#""addresses":["10.0.0.5/24"],"dns":["127.0.0.1"]"#,
        "no address of a server",
    ),
    (
        r#""addresses":["10.0.0.5/24"],"dns":["0.0.0.0"]"#,
        "no address of a server",
    ),
    (
        r#""addresses":["10.0.0.5/24"],"dns":["1.1.1.1","1.1.1.1","1.1.1.1","1.1.1.1"]"#,
        "at most",
    ),
    (
        r#""addresses":["10.0.0.5/24"],"routes":[{"to":"10.9.0.1/16","via":"10.0.0.1"}]"#,
        "host bits",
    ),
    (
        r#""addresses":["10.0.0.5/24"],"routes":[{"to":"10.9.0.0/16","via":"10.1.0.1"}]"#,
        "network of none",
    ),
    (
        r#""addresses":["10.0.0.5/24"],"routes":[{"to":"0.0.0.0/0","via":"10.0.0.1"}]"#,
        "default route",
    ),
];

#[test]
fn wrong_addresses() {
    let manual = |rest: &str| wired(&format!(r#"{{"method":"manual",{rest}}}"#));
    for (rest, part) in WRONG_ADDRESSES {
        refused(&manual(rest), part);
    }
    refused(&wired(r#"{"method":"link-local"}"#), "for ipv6");
    refused(&wired(r#"{"addresses":["10.0.0.5/24"]}"#), "method: manual");
    refused(
        &wired(r#"{"method":"disabled","dns":["1.1.1.1"]}"#),
        "method: auto",
    );
    Settings::parse(manual(r#""addresses":["10.0.0.4/31"],"gateway":"10.0.0.5""#).as_bytes())
        .unwrap();
}

/// Values beside the name of an interface, and a part of the error.
const WRONG_INTERFACES: &[(&str, &str)] = &[
    (r#""type":"wired","mtu":68"#, "1280 to 9216"),
    (
        r#""type":"wired","mtu":575,"ipv6":{"method":"disabled"}"#,
        "576 to 9216",
    ),
    (r#""type":"wired","mtu":70000"#, "mtu"),
    (r#""type":"wifi""#, "give ssid"),
    (r#""type":"bond""#, "unknown variant"),
    (
        r#""type":"wired","wifi":{"ssid":"a","security":"open"}"#,
        "belongs to",
    ),
    (
        r#""type":"wifi","wifi":{"ssid":"","security":"open"}"#,
        "1 to 32",
    ),
    (
        r#""type":"wifi","wifi":{"ssid":"a","security":"sae"}"#,
        "is missing",
    ),
    (
        r#""type":"wifi","wifi":{"ssid":"a","security":"wep","password":"x"}"#,
        "unknown variant",
    ),
    (
        r#""type":"wifi","wifi":{"ssid":"a","security":"sae","password":"1234567"}"#,
        "8 to 63",
    ),
    (
        r#""type":"wifi","wifi":{"ssid":"a","security":"wpa-psk","password":"12345678\n"}"#,
        "printable",
    ),
    (
        r#""type":"wired","ipv4":{"method":"disabled"},"ipv6":{"method":"disabled"}"#,
        "both disabled",
    ),
    (r#""type":"wired","dhcp":true"#, "unknown field"),
];

#[test]
fn wrong_interfaces() {
    let named = |name: &str| {
        let name = serde_json::to_string(name).unwrap();
        format!(r#"{{"interfaces":[{{"name":{name},"type":"wired"}}]}}"#)
    };
    for name in [
        "",
        "a b",
        "eth0\n[ipv4]",
        "../x",
        "-x",
        "sixteen-letters-",
        "é",
    ] {
        refused(&named(name), "must be that of an interface");
    }
    for name in ["lo", "docker0", "br-1", "veth1", "wg0", "nordlynx"] {
        refused(&named(name), "belongs to the engine");
    }
    let with = |rest: &str| format!(r#"{{"interfaces":[{{"name":"eth0",{rest}}}]}}"#);
    for (rest, part) in WRONG_INTERFACES {
        refused(&with(rest), part);
    }
    let two = |other: &str| {
        format!(
            r#"{{"interfaces":[{{"name":"a","type":"wired","ipv4":{{"method":"manual","addresses":["10.0.0.5/24"]}}}},
           {{"name":"{other}","type":"wired","ipv4":{{"method":"manual","addresses":["10.0.0.6/16"]}}}}]}}"#
        )
    };
    refused(&two("a"), "given twice");
    refused(&two("b"), "the same network");
}

#[test]
fn wrong_proxies_time_servers_and_documents() {
    for (json, part) in [
        (r#"{"proxy":"https://proxy:1"}"#, "http://HOST:PORT"),
        (r#"{"proxy":"proxy:3128"}"#, "http://HOST:PORT"),
        (r#"{"ntp":["a b"]}"#, "neither a host name"),
        (r#"{"ntp":["x\nserver evil"]}"#, "neither a host name"),
        (r#"{"ntp":["192.168.1.999"]}"#, "neither a host name"),
        (r#"{"ntp":["0.0.0.0"]}"#, "neither a host name"),
        (r#"{"ntp":["a","b","c","d","e"]}"#, "at most"),
        ("", "EOF"),
        ("{", "EOF"),
        ("[]", "form"),
        (r#"{"ntp":["a"],"ntp":["b"]}"#, "duplicate field"),
        (
            &format!(r#"{{"proxy":"{}"}}"#, "x".repeat(20_000)),
            "at most 16384 bytes",
        ),
    ] {
        refused(json, part);
    }
    assert_eq!(Settings::parse(b"{}").unwrap(), Settings::default());
    assert!(Settings::default().keyfiles().is_empty());
}
