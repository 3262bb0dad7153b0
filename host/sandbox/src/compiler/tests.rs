use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::config::CacheConfig;

/// Compiles a component with a child that behaves like this shell script.
async fn outcome(script: &str, limits: CompilerConfig) -> Result<Vec<u8>, String> {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("program");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let compiler = Compiler::new(CompilerConfig { program, ..limits }, 64 << 20);
    // Longer than any pipe: a child that does not read must not block the parent.
    let artifact_max = compiler.artifact_max(usize::MAX);
    let compiled = compiler
        .compile(&compiler.permit().await, &vec![0; 1 << 20], artifact_max, Effort::Full)
        .await;
    compiled.map_err(|error| error.to_string())
}

fn limits() -> CompilerConfig {
    CompilerConfig {
        memory: 64 << 20,
        cpu_time: Duration::from_secs(7),
        wall_time: Duration::from_secs(30),
        artifact: 100_000,
        cache: CacheConfig {
            dir: "/no/such/dir".into(),
            files: 1,
            bytes: 1,
        },
        ..CompilerConfig::default()
    }
}

// Shows P6: a compiler that crashes or uses too much costs its tenant an error.
#[tokio::test]
async fn however_a_child_ends_the_error_says_how() {
    let check = async |script: &str, expect: &str| {
        let error = outcome(script, limits()).await.unwrap_err();
        assert_eq!(error, expect, "{script}");
    };
    check(
        "printf 'rit is wrong'",
        "it cannot be compiled as a WebAssembly component",
    )
    .await;
    check(
        "printf 'rCannot allocate memory (os error 12)'",
        "compiling it takes more than 64 MiB, the compiler.memory of this host",
    )
    .await;
    check(
        "echo memory allocation of 7 bytes failed >&2; kill -ABRT $$",
        "compiling it takes more than 64 MiB, the compiler.memory of this host",
    )
    .await;
    check(
        "kill -XCPU $$",
        "compiling it takes more than 7 s, the compiler.cpu_time of this host",
    )
    .await;
    check("echo oh >&2; exit 3", "the compiler ended with exit status: 3: oh").await;
    check(
        "printf c; kill -SEGV $$",
        "the compiler ended with signal: 11 (SIGSEGV): ",
    )
    .await;
    check(
        "printf 'uiwasi:io/a\\npis odd'",
        "it imports what is not granted: wasi:io/a; it is odd",
    )
    .await;
    check(
        "echo 'this kernel cannot confine a compiler: Landlock: no' >&2; echo oh >&2; exit 3",
        "the compiler ended with exit status: 3: oh",
    )
    .await;
    check("exit 0", "the compiler ended with exit status: 0: ").await;
    check(
        "head -c 200000 /dev/zero",
        "compiling it takes more than 100000 bytes, the compiler.artifact of this host",
    )
    .await;
    let endless = "head -c 100000 /dev/zero >&2; exit 3";
    let error = outcome(endless, limits()).await.unwrap_err();
    assert!(error.len() < 2 * MESSAGE_BYTES_MAX, "{} bytes", error.len());
}

#[tokio::test]
async fn the_limit_of_a_tenant_or_of_the_host_is_reached_whichever_is_smaller() {
    let compiler = Compiler::new(limits(), 64 << 20);
    let check = |tenant: usize, expect: &str| {
        assert_eq!(compiler.artifact_max(tenant).exceeded().to_string(), expect);
    };
    check(
        7,
        "compiling it takes more than 7 bytes, the limits.artifact of this host",
    );
    check(
        200_000,
        "compiling it takes more than 100000 bytes, the compiler.artifact of this host",
    );
}

#[tokio::test]
async fn the_answer_of_a_child_that_succeeds_is_used() {
    assert_eq!(
        outcome("cat > /dev/null; printf ccode", limits()).await.unwrap(),
        b"code"
    );
}

#[tokio::test]
async fn a_child_that_takes_too_long_is_killed() {
    let short = CompilerConfig {
        wall_time: Duration::from_millis(100),
        ..limits()
    };
    let error = outcome("exec sleep 1000", short).await.unwrap_err();
    assert_eq!(
        error,
        "compiling it takes more than 0.1 s, the compiler.wall_time of this host"
    );
}

#[tokio::test]
async fn one_child_waits_for_another() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("program");
    let (busy, twice) = (dir.path().join("busy"), dir.path().join("twice"));
    // A second child that runs at the same time finds the directory of the first.
    let script = format!(
        "#!/bin/sh\nmkdir {} || touch {}\nsleep 0.05\nrmdir {}\nprintf c\n",
        busy.display(),
        twice.display(),
        busy.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let compiler = Compiler::new(CompilerConfig { program, ..limits() }, 64 << 20);
    let artifact_max = compiler.artifact_max(usize::MAX);
    let compile = async |wasm: &[u8]| {
        compiler
            .compile(&compiler.permit().await, wasm, artifact_max, Effort::Full)
            .await
    };
    let all = tokio::join!(compile(b"a"), compile(b"b"), compile(b"c"));
    assert!(all.0.is_ok() && all.1.is_ok() && all.2.is_ok());
    assert!(!twice.exists());
}

#[tokio::test]
async fn a_child_has_nothing_of_the_environment() {
    let seen = outcome("printf c; env", limits()).await.unwrap();
    let seen = String::from_utf8(seen).unwrap();
    let names: Vec<_> = seen.lines().filter_map(|line| line.split('=').next()).collect();
    assert!(
        names
            .iter()
            .all(|name| ["PWD", "_", "SHLVL", "OLDPWD", ALLOCATOR.0].contains(name)),
        "{names:?}"
    );
}
