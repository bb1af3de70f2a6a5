//! Tables of what tools are told, and of what they say.

use alloc::string::ToString as _;

use super::*;

fn osslsigncode(pair: Pair) -> Signing {
    let (password, trust, timestamp_trust) = (None, None, None);
    let tool = Tool::Osslsigncode { pair, password, trust, timestamp_trust };
    Signing { tool, timestamp: None }
}

fn pem() -> Pair {
    Pair::Pem { certificate: "keys/shop.pem".into(), key: "keys/shop.key".into() }
}

fn signtool(holder: Holder) -> Signing {
    Signing { tool: Tool::Signtool { holder }, timestamp: None }
}

fn store() -> Holder {
    Holder::Store { thumbprint: "AB".repeat(20) }
}

fn with_password(mut signing: Signing) -> Signing {
    if let Tool::Osslsigncode { password, .. } = &mut signing.tool {
        *password = Some("signing".parse().unwrap());
    }
    signing
}

fn with_trust(mut signing: Signing) -> Signing {
    if let Tool::Osslsigncode { trust, timestamp_trust, .. } = &mut signing.tool {
        *trust = Some("keys/ca.pem".into());
        *timestamp_trust = Some("keys/tsa.pem".into());
    }
    signing
}

fn stamped(signing: Signing) -> Signing {
    Signing { timestamp: Some("http://time.example".into()), ..signing }
}

fn line(words: &[Word<'_>]) -> String {
    let word = |word: &Word<'_>| match word {
        Word::Text(text) => (*text).to_string(),
        Word::Given(file) => format!("<{file}>"),
        Word::Input => "INPUT".to_owned(),
        Word::Copy => "COPY".to_owned(),
        Word::Signed => "SIGNED".to_owned(),
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn each_tool_is_told_what_to_sign_with_and_nothing_secret() {
    let thumbprint = "AB".repeat(20);
    for (signing, sign, verify) in [
        (
            osslsigncode(pem()),
            "sign -certs <keys/shop.pem> -key <keys/shop.key> -h sha256 -in COPY -out SIGNED",
            "verify -in COPY",
        ),
        (
            stamped(with_trust(with_password(osslsigncode(Pair::Pfx("shop.pfx".into()))))),
            "sign -pkcs12 <shop.pfx> -readpass INPUT -h sha256 -ts http://time.example \
             -in COPY -out SIGNED",
            "verify -CAfile <keys/ca.pem> -TSA-CAfile <keys/tsa.pem> -in COPY",
        ),
        (
            stamped(signtool(store())),
            &*format!(
                "sign /q /fd SHA256 /sha1 {thumbprint} /tr http://time.example /td SHA256 COPY"
            ),
            "verify /q /pa COPY",
        ),
        (
            signtool(Holder::Pfx("shop.pfx".into())),
            "sign /q /fd SHA256 /f <shop.pfx> COPY",
            "verify /q /pa COPY",
        ),
    ] {
        assert_eq!(line(&signing.sign_words()), sign);
        assert_eq!(line(&signing.verify_words()), verify);
        let has_signed = signing.sign_words().contains(&Word::Signed);
        assert_ne!(has_signed, signing.is_in_place(), "{sign}");
    }
}

#[test]
fn a_key_changes_with_whatever_is_signed_and_with_nothing_else() {
    let base = osslsigncode(pem());
    let key = |signing: &Signing| signing.key_text("bin/shop.exe", "c1", Some("k1"));
    let moved = osslsigncode(Pair::Pem { certificate: "other.pem".into(), key: "o.key".into() });
    for (same, why) in [
        (key(&base), "nothing is different"),
        (key(&moved), "the certificate stands elsewhere"),
        (key(&with_trust(base.clone())), "trust are for verifying alone"),
        (base.key_text("other/name.EXE", "c1", Some("k1")), "the file is called otherwise"),
    ] {
        assert_eq!(same, key(&base), "{why}");
    }
    let store_of = |thumbprint: &str| {
        signtool(Holder::Store { thumbprint: thumbprint.into() }).key_text("shop.exe", "c1", None)
    };
    let all = [
        key(&base),
        base.key_text("bin/shop.exe", "c2", Some("k1")),
        base.key_text("bin/shop.exe", "c1", Some("k2")),
        base.key_text("bin/shop.ps1", "c1", Some("k1")),
        key(&stamped(base.clone())),
        key(&osslsigncode(Pair::Pfx("shop.pfx".into()))),
        key(&signtool(Holder::Pfx("shop.pfx".into()))),
        store_of("AA"),
        store_of("BB"),
    ];
    for (n, one) in all.iter().enumerate() {
        assert!(!all[..n].contains(one), "two are alike: {one}");
    }
}

#[test]
fn a_time_that_nobody_trusts_is_a_doubt_where_one_was_asked_for() {
    let fails = "  Timestamp Server Signature verification: failed\nSignature verification: ok\n";
    let good = fails.replace("failed", "ok");
    let asked = stamped(osslsigncode(pem()));
    assert!(asked.doubt(fails).is_some());
    for (signing, said) in [(&asked, &*good), (&asked, ""), (&osslsigncode(pem()), fails)] {
        assert_eq!(signing.doubt(said), None, "{said}");
    }
}

#[test]
fn what_can_hold_a_signature_is_told_by_its_name() {
    for (name, can) in [
        ("shop.exe", true),
        ("SHOP.EXE", true),
        ("bin/x64/core.dll", true),
        ("setup.msi", true),
        ("install.ps1", true),
        ("shop", false),
        ("shop.exe.config", false),
        ("folder.exe/readme", false),
        (".exe", false),
        ("shop.", false),
    ] {
        assert_eq!(can_hold(name), can, "{name}");
    }
}

#[test]
fn of_what_a_tool_says_the_fault_is_told() {
    for (said, told) in [
        (
            "Failed to parse PKCS#12 file: s.pfx (Wrong password?)\nFailed to read key or \
             certificates\n4020:error:11800071:PKCS12 routines:PKCS12_parse:mac verify failure:\
             ../crypto/pkcs12/p12_kiss.c:71:\nFailed\n",
            "Failed to parse PKCS#12 file: s.pfx (Wrong password?); \
             Failed to read key or certificates; mac verify failure",
        ),
        (
            "4030:error:10800075:PKCS7 routines:PKCS7_verify:certificate verify error:\
             ../crypto/pkcs7/pk7_smime.c:291:Verify error: certificate has expired\n",
            "certificate verify error: Verify error: certificate has expired",
        ),
        (
            "PE checksum   : 000106B9\n\nCurrent message digest    : 84\n\
             Calculated message digest : 7E     MISMATCH!!!\n\nNumber of verified signatures: 1\n\
             Failed\n",
            "Calculated message digest : 7E     MISMATCH!!!",
        ),
        (
            "Unrecognized file type: x.ps1\n4009:error:068000A8:asn1 encoding routines:\
             asn1_check_tlen:wrong tag:../crypto/asn1/tasn_dec.c:1215:\nFailed\n",
            "Unrecognized file type: x.ps1",
        ),
        ("it is a Tuesday\nFailed\n", "it is a Tuesday"),
        ("Failed\n", ""),
        ("", ""),
    ] {
        assert_eq!(reason(said), told);
    }
    let long = reason(&"cannot ".repeat(1000));
    assert_eq!(long.chars().count(), REASON_LINE_CHARS_MAX);
    assert_eq!(
        reason("cannot a\ncannot a\ncannot b\ncannot c\ncannot d\n").matches(';').count(),
        2
    );
}
