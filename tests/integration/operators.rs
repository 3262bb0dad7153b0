//! Who may use the admin listener: tokens of operators, their rights, and what becomes of those who have none.

use std::fs;
use std::process::Stdio;

use namelock_test_servers::Process;

use crate::admin::{address, admin_of, operate};
use crate::authentication::new_token;
use crate::fixture::{Builder, DEADLINE, eventually};

/// Makes a token of an operator: its secret, and the lines for the file of the host.
pub(crate) fn admin_token(rights: &str) -> (String, String) {
    new_token(&["--admin", "--name", &rights.replace(',', "-"), "--rights", rights])
}

// Shows P7: who has not the right is refused, and nothing happens.
#[tokio::test]
async fn each_right_of_an_operator_is_needed_and_is_enough() {
    let [read, named, write] = ["read", "read,names", "write"].map(admin_token);
    // The last question has it stop, and others come after it.
    let lines = format!("http.lame_duck = '10m'\n{}\n{}\n{}", read.1, named.1, write.1);
    let host = Builder::new().config(&lines).log("off").demo().start();
    let [read, named, write] = [read.0, named.0, write.0].map(|secret| format!("Bearer {secret}"));
    let questions = [
        ("GET", "/tenants", [true, true, false]),
        ("GET", "/tenants/demo", [true, true, false]),
        ("GET", "/metrics", [true, true, false]),
        ("GET", "/openapi.json", [true, true, false]),
        ("GET", "/locks", [true, true, false]),
        ("GET", "/locks?names=true", [false, true, false]),
        ("GET", "/compiling", [true, true, false]),
        ("GET", "/log", [true, true, false]),
        ("GET", "/drain", [true, true, false]),
        ("GET", "/nothing", [true, true, false]),
        ("DELETE", "/locks/1", [false, false, true]),
        ("POST", "/tenants/demo/enable", [false, false, true]),
        ("POST", "/tenants/demo/disable", [false, false, true]),
        ("PUT", "/log", [false, false, true]),
        ("PUT", "/tenants/demo", [false, false, true]),
        ("DELETE", "/tenants/demo", [false, false, true]),
        ("GET", "/tenants/demo/versions", [true, true, false]),
        ("POST", "/tenants/demo/rollback", [false, false, true]),
        ("POST", "/tenants/demo/promote", [false, false, true]),
        ("POST", "/reload", [false, false, true]),
        ("POST", "/drain", [false, false, true]),
    ];
    for (method, path, allowed) in questions {
        for wrong in [None, Some("Bearer nlk_other"), Some("Basic x"), Some("Bearer ")] {
            let answer = operate(&host, method, path, wrong).await;
            assert_eq!(answer.status, 401, "{method} {path}");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
        for (token, allowed) in [&read, &named, &write].into_iter().zip(allowed) {
            let answer = operate(&host, method, path, Some(token)).await;
            assert_eq!(answer.status != 403, allowed, "{method} {path}: {:?}", answer.body);
            assert_ne!(answer.status, 401, "{method} {path}");
        }
        if path == "/drain" && method == "GET" {
            assert_eq!(operate(&host, method, path, Some(&read)).await.body["draining"], false);
        }
    }
    for path in ["/healthz", "/readyz"] {
        assert_ne!(host.admin(path).await.status, 401, "a balancer has no token");
    }
    eventually("the log says who has done it", async || {
        host.log()
            .contains("the host was told to stop by the operator operator=\"write\"")
    })
    .await;
    let log = host.log();
    assert!(!log.contains("operator=\"read"), "{log}");
    assert!(!log.contains("nlk_"), "{log}");
}

#[tokio::test]
async fn who_is_not_let_in_is_counted_and_the_log_says_where_from() {
    let (secret, lines) = admin_token("read");
    let host = Builder::new().config(&lines).demo().start();
    let read = format!("Bearer {secret}");
    for _ in 0..3 {
        for (method, path, shown, status) in [
            ("GET", "/tenants", None, 401),
            ("GET", "/tenants", Some("Bearer nlk_guess"), 401),
            ("POST", "/drain", Some(&*read), 403),
            ("GET", "/locks?names=true", Some(&*read), 403),
            ("GET", "/tenants", Some(&*read), 200),
        ] {
            assert_eq!(
                operate(&host, method, path, shown).await.status,
                status,
                "{method} {path}"
            );
        }
    }
    let metrics = operate(&host, "GET", "/metrics", Some(&read)).await.body;
    let count = |reason: &str| {
        let series = format!("namelock_admin_not_let_in_total{{reason=\"{reason}\"}} ");
        let mut lines = metrics.as_str().unwrap().lines();
        lines.find_map(|line| line.strip_prefix(&series)).unwrap().to_owned()
    };
    let reasons = ["nothing_shown", "unknown_token", "unknown_certificate", "missing_right"];
    assert_eq!(reasons.map(count), ["3", "3", "0", "6"]);
    let told = |reason: &str| {
        let log = host.log();
        let of_reason = |line: &&str| line.contains("somebody was not let in") && line.contains(reason);
        log.lines().filter(of_reason).map(str::to_owned).collect::<Vec<_>>()
    };
    for reason in ["unknown_token", "missing_right"] {
        eventually("the log says where from", async || !told(reason).is_empty()).await;
        let lines = told(reason);
        assert!(
            lines[0].contains("address=127.0.0.1") && lines[0].contains("refused=1"),
            "{lines:?}"
        );
    }
    assert!(told("nothing_shown").is_empty());
}

#[tokio::test]
async fn tokens_of_operators_are_read_again_and_a_mistake_locks_nobody_out() {
    let [(first, first_lines), (second, second_lines)] = ["read", "read,write"].map(admin_token);
    let host = Builder::new().config(&first_lines).demo().start();
    let status = async |secret: &str| {
        let bearer = format!("Bearer {secret}");
        operate(&host, "GET", "/tenants", Some(&bearer)).await.status.as_u16()
    };
    assert_eq!((status(&first).await, status(&second).await), (200, 401));
    let file = host.folder().join("namelock.toml");
    let was = fs::read_to_string(&file).unwrap();
    let put = |text: &str| {
        fs::write(&file, text).unwrap();
        host.process.signal("HUP");
    };
    put(&was.replace(&first_lines, &second_lines));
    eventually("the new token is known", async || status(&second).await == 200).await;
    assert_eq!(status(&first).await, 401, "it was taken out");

    for (wrong, why) in [
        (was.replace("rights", "right"), "admin.tokens[0].right: unknown field"),
        ("http = [".to_owned(), "this is not TOML"),
    ] {
        put(&wrong);
        eventually("the log says what is wrong", async || {
            let log = host.log();
            let mut lines = log
                .lines()
                .filter(|line| line.contains("cannot read admin.tokens again"));
            lines.any(|line| line.contains(why))
        })
        .await;
        assert_eq!((status(&first).await, status(&second).await), (401, 200), "{wrong}");
    }
    put(&was);
    eventually("the first token is known again", async || status(&first).await == 200).await;
    assert_eq!(status(&second).await, 401);
    assert!(!host.log().contains("nlk_"));
}

// Shows P7: an admin listener does not become public because its tokens have gone.
#[tokio::test]
async fn a_listener_beyond_loopback_keeps_its_last_tokens() {
    let (secret, lines) = admin_token("read");
    let mut builder = Builder::new().config(&lines).demo();
    builder.admin = "0.0.0.0:0".to_owned();
    let host = builder.start();
    let file = host.folder().join("namelock.toml");
    let was = fs::read_to_string(&file).unwrap();
    fs::write(&file, was.replace(&lines, "")).unwrap();
    host.process.signal("HUP");
    eventually("the log says what is wrong", async || {
        host.log().contains("no operator has a token; make one")
    })
    .await;
    assert_eq!(operate(&host, "GET", "/tenants", None).await.status, 401);
    let bearer = format!("Bearer {secret}");
    assert_eq!(operate(&host, "GET", "/tenants", Some(&bearer)).await.status, 200);
}

#[tokio::test]
async fn a_command_takes_its_token_from_the_environment_or_a_file() {
    let (secret, lines) = admin_token("read");
    let host = Builder::new().config(&lines).demo().start();
    let hosts = [address(&host)];
    let (code, said) = admin_of(&hosts, Some(&secret), &["tenants"]);
    assert!(code == Some(0) && said.contains("demo    serving"), "{said}");
    let file = host.tenant("demo").join("token");
    fs::write(&file, format!("{secret}\n")).unwrap();
    let (code, said) = admin_of(
        &hosts,
        Some("nlk_other"),
        &["tenants", "--token-file", file.to_str().unwrap()],
    );
    assert_eq!(code, Some(0), "{said}");

    let (code, said) = admin_of(&hosts, None, &["tenants"]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("requires a token") && said.contains("set NAMELOCK_ADMIN_TOKEN"),
        "{said}"
    );
    let (code, said) = admin_of(&hosts, Some("nlk_other"), &["tenants"]);
    assert!(code == Some(1) && said.contains("does not know this token"), "{said}");
    let (code, said) = admin_of(&hosts, Some(&secret), &["disable", "demo"]);
    assert!(
        code == Some(1) && said.contains("does not have the right to write"),
        "{said}"
    );
    assert!(!said.contains(&secret));
    // The address is nobody's, and nobody is asked.
    let (code, said) = admin_of(&["192.0.2.1:8081"], Some(&secret), &["tenants"]);
    assert!(
        code == Some(2) && said.contains("the token would be sent as it is to 192.0.2.1:8081"),
        "{said}"
    );
    assert!(!said.contains(&secret));
    let (code, said) = admin_of(&hosts, None, &["ready"]);
    assert_eq!((code, said.as_str()), (Some(0), "ready\n"));
}

// Shows P7: an admin listener without tokens does not become public by accident.
#[test]
fn an_admin_listener_without_tokens_stays_on_loopback() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tenants")).unwrap();
    fs::write(folder.path().join("tokens.toml"), admin_token("read").1).unwrap();
    let start = |address: &str, arguments: &[&str]| -> Result<(), (Option<i32>, String)> {
        let mut command = Process::command(env!("CARGO_BIN_EXE_namelock"), "the build makes it");
        command
            .current_dir(folder.path())
            .args(["serve", "--listen", "127.0.0.1:0", "--admin", address])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Process::spawn(&mut command);
        if process.listening(DEADLINE).is_some() {
            return Ok(());
        }
        let (status, text) = process.last_words(DEADLINE).expect("it neither serves nor ends");
        Err((status.code(), text))
    };
    for address in ["0.0.0.0:0", "[::]:0"] {
        let (code, text) = start(address, &[]).unwrap_err();
        assert_eq!(code, Some(2), "{text}");
        let line = text.lines().last().unwrap_or_default();
        assert!(line.contains("admin.listen: other machines can reach"), "{line}");
        assert!(
            line.contains("`namelock token new --admin`") && line.contains("--admin-open"),
            "{line}"
        );
    }
    start("127.0.0.1:0", &[]).unwrap();
    start("0.0.0.0:0", &["--admin-open"]).unwrap();
    start("0.0.0.0:0", &["--config", "tokens.toml"]).unwrap();
}
