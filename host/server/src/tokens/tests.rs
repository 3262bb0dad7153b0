use axum::http::HeaderValue;

use super::right::{AdminRight, Right};
use super::*;

fn section(name: &str, secret: &str, rights: &[Right]) -> TokenSection<Right> {
    TokenSection {
        name: name.into(),
        sha256: hex(&Sha256::digest(secret)),
        rights: rights.into(),
    }
}

fn tokens() -> Tokens<Right> {
    let sections = vec![
        section("all", "nlk_all", Right::ALL),
        section("reader", "nlk_reader", &[Right::Find]),
    ];
    Tokens::new(sections).unwrap()
}

fn headers(values: &[&str]) -> HeaderMap {
    values
        .iter()
        .map(|value| (AUTHORIZATION, HeaderValue::from_str(value).unwrap()))
        .collect()
}

#[test]
fn a_token_allows_its_rights_and_no_more() {
    let check = |values: &[&str], right: Right, expect: Result<(), Denied<Right>>| {
        assert_eq!(tokens().check(&headers(values), right), expect, "{values:?} {right}");
    };
    for &right in Right::ALL {
        check(&["Bearer nlk_all"], right, Ok(()));
        check(&["bearer  nlk_all "], right, Ok(()));
        check(&["Bearer nlk_other"], right, Err(Denied::Unknown));
        check(&["Bearer nlk_al"], right, Err(Denied::Unknown));
        check(&["Bearer nlk_alll"], right, Err(Denied::Unknown));
        for missing in ["", "Bearer", "Bearer ", "Basic nlk_all", "nlk_all", "Bearernlk_all"] {
            check(&[missing], right, Err(Denied::Missing));
        }
        check(&[], right, Err(Denied::Missing));
        check(&["Bearer nlk_all", "Bearer nlk_all"], right, Err(Denied::Missing));
        check(
            &[&format!("Bearer {}", "x".repeat(HEADER_MAX))],
            right,
            Err(Denied::Missing),
        );
    }
    check(&["Bearer nlk_reader"], Right::Find, Ok(()));
    check(&["Bearer nlk_reader"], Right::Free, Err(Denied::Right(Right::Free)));
    check(
        &["Bearer nlk_reader"],
        Right::Register,
        Err(Denied::Right(Right::Register)),
    );
}

#[test]
fn a_tenant_without_tokens_lets_anybody_in() {
    let open = Tokens::default();
    assert!(open.is_open() && !tokens().is_open());
    assert_eq!(open.check(&HeaderMap::new(), Right::Register), Ok(()));
    assert_eq!(open.check(&headers(&["Bearer x"]), Right::Register), Ok(()));
}

#[test]
fn invalid_tokens_are_refused_without_repeating_their_hash() {
    let check = |sections: Vec<TokenSection<Right>>, expect: InvalidTokens| {
        assert_eq!(Tokens::new(sections).unwrap_err(), [expect]);
    };
    let good = || section("a", "s", &[Right::Find]);
    let again = || section("a", "t", &[Right::Find]);
    check(vec![good(), again()], InvalidTokens::Twice("a".into()));
    check(
        vec![good(), section("b", "s", Right::ALL)],
        InvalidTokens::SameSecret("b".into()),
    );
    let rights = "register, find, free, update, list and log".to_owned();
    check(
        vec![section("a", "s", &[])],
        InvalidTokens::NoRights {
            name: "a".into(),
            rights,
        },
    );
    check(vec![section("", "s", &[Right::Find])], InvalidTokens::Name("".into()));
    check(
        vec![section("a b", "s", &[Right::Find])],
        InvalidTokens::Name("a b".into()),
    );
    for sha256 in [
        "",
        "nlk_secret",
        &"g".repeat(64),
        &"é".repeat(32),
        &"+f".repeat(32),
        &"0".repeat(63),
    ] {
        let sha256 = sha256.to_owned();
        check(vec![TokenSection { sha256, ..good() }], InvalidTokens::Hash("a".into()));
    }
    let many = (0..65).map(|n| section(&format!("t{n}"), &n.to_string(), &[Right::Find]));
    check(many.collect(), InvalidTokens::TooMany(65));
}

#[test]
fn a_new_token_works_with_its_printed_lines() {
    #[derive(Deserialize)]
    struct File {
        tokens: Vec<TokenSection<Right>>,
    }
    let text = NewToken::make("ci", &[Right::Register, Right::Find]).unwrap().text();
    let (secret, lines) = text.split_once('\n').unwrap();
    assert_eq!((&secret[..4], secret.len()), (PREFIX, 4 + 2 * SECRET_BYTES));
    assert!(!lines.contains(secret));
    let file: File = toml::from_str(lines).unwrap();
    let tokens = Tokens::new(file.tokens).unwrap();
    let presented = headers(&[&format!("Bearer {secret}")]);
    assert_eq!(tokens.check(&presented, Right::Find), Ok(()));
    assert_eq!(tokens.check(&presented, Right::Free), Err(Denied::Right(Right::Free)));
    assert_ne!(text, NewToken::make("ci", &[Right::Find]).unwrap().text());
    let text = NewToken::make("ops", &[AdminRight::Read]).unwrap().text();
    assert!(text.contains("\n[[admin.tokens]]\nname = \"ops\"\n"), "{text}");
    assert!(NewToken::make("a\nb", &[Right::Find]).is_err());
    assert!(NewToken::<Right>::make("a", &[]).is_err());
}

#[test]
fn debug_output_has_no_hash() {
    let hash = hex(&Sha256::digest("nlk_all"));
    let section = section("all", "nlk_all", Right::ALL);
    assert!(!format!("{section:?}").contains(&hash));
    assert!(format!("{:?}", tokens()).contains("all"));
    assert!(!format!("{:?}", tokens()).contains("sha256"));
}
