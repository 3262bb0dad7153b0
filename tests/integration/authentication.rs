//! Tokens: what one opens, that none is ever told, and that a tenant without any keeps its host on loopback.

use std::process::Stdio;

use namelock_test_artifacts::ROOMS;
use namelock_test_servers::Process;
use reqwest::Method;

use crate::fixture::{Answer, Builder, DEADLINE, Host};

/// Makes a token with the real binary: its secret, and the lines for the file.
pub(crate) fn new_token(arguments: &[&str]) -> (String, String) {
    let mut command = Process::command(env!("CARGO_BIN_EXE_namelock"), "the build makes it");
    let output = command.args(["token", "new"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (secret, lines) = text.split_once("\n\n").unwrap();
    (secret.to_owned(), lines.to_owned())
}

/// Any request of this tenant with this `Authorization`.
async fn ask(host: &Host, method: Method, tenant: &str, authorization: Option<&str>) -> Answer {
    let (path, body) = match method {
        Method::POST => (format!("/v1/{tenant}/names"), r#"{"name":"a","owner":"ann"}"#),
        _ => (format!("/v1/{tenant}/names/a?owner=ann"), ""),
    };
    host.send(|client, url| {
        let request = client.request(method, format!("{url}{path}")).body(body);
        match authorization {
            Some(value) => request.header("authorization", value),
            None => request,
        }
    })
    .await
}

#[tokio::test]
async fn a_token_grants_its_rights_at_its_tenant_and_nothing_else() {
    let (all, all_lines) = new_token(&[]);
    let (reader, reader_lines) = new_token(&["--name", "reader", "--rights", "find"]);
    let (other, other_lines) = new_token(&["--name", "other"]);
    let host = Builder::new()
        .tenant("mine", ROOMS, &format!("{all_lines}{reader_lines}"))
        .tenant("theirs", ROOMS, &other_lines)
        .tenant(
            "rated",
            ROOMS,
            &format!("limits = {{ rate = 1, burst = 1 }}\n{other_lines}"),
        )
        .start();
    let bearer = |secret: &str| format!("Bearer {secret}");
    for method in [Method::POST, Method::GET, Method::DELETE] {
        for wrong in [
            None,
            Some(bearer(&other)),
            Some("Bearer ".to_owned()),
            Some(format!("Basic {all}")),
        ] {
            let answer = ask(&host, method.clone(), "mine", wrong.as_deref()).await;
            answer.is_problem(401, "unauthorized");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            assert!(!answer.body.to_string().contains("nlk_"), "{:?}", answer.body);
        }
        ask(&host, method, "none", Some(&bearer(&all)))
            .await
            .is_problem(404, "unknown_tenant");
    }
    for method in [Method::POST, Method::DELETE] {
        ask(&host, method, "mine", Some(&bearer(&reader)))
            .await
            .is_problem(403, "forbidden");
    }
    assert_eq!(ask(&host, Method::POST, "mine", Some(&bearer(&all))).await.status, 201);
    assert_eq!(
        ask(&host, Method::GET, "mine", Some(&bearer(&reader))).await.status,
        200
    );
    assert_eq!(
        ask(&host, Method::DELETE, "mine", Some(&bearer(&all))).await.status,
        204
    );

    for _ in 0..10 {
        ask(&host, Method::GET, "rated", Some(&bearer(&all)))
            .await
            .is_problem(401, "unauthorized");
    }
    ask(&host, Method::GET, "rated", Some(&bearer(&other)))
        .await
        .is_problem(404, "not_found");
}

#[tokio::test]
async fn no_secret_is_ever_logged() {
    let (secret, lines) = new_token(&["--rights", "find"]);
    let host = Builder::new()
        .log("trace")
        .tenant("mine", ROOMS, &lines)
        .tenant(
            "pasted",
            ROOMS,
            &lines.replace("sha256 = \"", &format!("sha256 = \"{secret}")),
        )
        .start();
    let bearer = format!("Bearer {secret}");
    for tenant in ["mine", "pasted", "none"] {
        for method in [Method::POST, Method::GET, Method::DELETE] {
            let answer = ask(&host, method, tenant, Some(&bearer)).await;
            assert!(!answer.body.to_string().contains(&secret), "{:?}", answer.body);
        }
    }
    let log = host.log();
    assert!(
        log.contains("request ended") && log.contains("`namelock token new`"),
        "{log}"
    );
    assert!(!log.contains(&secret), "{log}");
}

/// Starts a host on this address, and tells its exit code and what it said, or that it serves.
fn listen(
    builder: &Builder,
    address: &str,
    arguments: &[&str],
    open: Option<&str>,
) -> Result<(), (Option<i32>, String)> {
    let mut command = Process::command(env!("CARGO_BIN_EXE_namelock"), "the build makes it");
    command
        .current_dir(builder.folder())
        .args(["serve", "--listen", address, "--admin", "127.0.0.1:0"])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(open) = open {
        command.env("NAMELOCK_OPEN", open);
    }
    let mut process = Process::spawn(&mut command);
    if process.listening(DEADLINE).is_some() {
        return Ok(());
    }
    let (status, text) = process.last_words(DEADLINE).expect("it neither serves nor ends");
    Err((status.code(), text))
}

#[test]
fn a_tenant_without_tokens_keeps_the_host_on_loopback() {
    let open = Builder::new().demo();
    for address in ["0.0.0.0:0", "[::]:0"] {
        let (code, text) = listen(&open, address, &[], None).unwrap_err();
        assert_eq!(code, Some(2), "{text}");
        let line = text
            .lines()
            .rfind(|line| line.starts_with("namelock: "))
            .unwrap_or_default();
        assert!(
            line.contains("http.listen") && line.contains("`demo` has no tokens"),
            "{text}"
        );
        assert!(line.contains("--open"), "{text}");
    }
    listen(&open, "0.0.0.0:0", &["--open"], None).unwrap();
    listen(&open, "0.0.0.0:0", &[], Some("true")).unwrap();
    assert!(listen(&open, "0.0.0.0:0", &[], Some("false")).is_err());
    listen(&open, "127.0.0.1:0", &[], None).unwrap();
    let closed = Builder::new().tenant("mine", ROOMS, &new_token(&[]).1);
    listen(&closed, "0.0.0.0:0", &[], None).unwrap();
}
