//! The command line as people write it.

use super::*;

fn usage_of(arguments: &[&str]) -> String {
    usage(&Cli::try_parse_from(arguments).unwrap_err()).to_string()
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn the_help_matches_the_snapshot() {
    let help_of = |line: &str| {
        let help = Cli::try_parse_from(line.split(' ')).unwrap_err();
        format!("$ {line}\n{help}")
    };
    let help = [
        help_of("namelock --help"),
        help_of("namelock serve --help"),
        help_of("namelock new --help"),
        help_of("namelock build --help"),
        help_of("namelock check --help"),
        help_of("namelock run --help"),
        help_of("namelock test --help"),
        help_of("namelock dev --help"),
        help_of("namelock check-config --help"),
        help_of("namelock admin --help"),
        help_of("namelock names --help"),
        help_of("namelock names export --help"),
        help_of("namelock names import --help"),
        help_of("namelock names move --help"),
        help_of("namelock admin locks --help"),
        help_of("namelock admin disable --help"),
        help_of("namelock admin log --help"),
        help_of("namelock top --help"),
        help_of("namelock token new --help"),
        help_of("namelock completions --help"),
        help_of("namelock man --help"),
    ]
    .join("\n");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/help.txt");
    if std::env::var_os("UPDATE_HELP").is_some() {
        std::fs::write(path, &help).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap();
    assert_eq!(help, found, "run with UPDATE_HELP=1 to rewrite the file");
}

#[test]
fn a_usage_error_is_one_line() {
    let check = |arguments: &[&str], expect: &str| assert_eq!(usage_of(arguments), expect);
    check(&["namelock"], "usage: a command is missing; see `namelock --help`");
    check(
        &["namelock", "serve", "--colour"],
        "usage: unexpected argument '--colour' found; see `namelock serve --help`",
    );
    check(
        &["namelock", "serve", "--listn", "x"],
        "usage: unexpected argument '--listn' found; tip: a similar argument exists: '--listen'; \
         see `namelock serve --help`",
    );
    check(
        &["namelock", "serve", "--listen"],
        "usage: a value is required for '--listen <ADDR>' but none was supplied; see `namelock --help`",
    );
    check(
        &["namelock", "serve", "--lock", "memory:", "--lock", "memory:"],
        "usage: the argument '--lock <URL>' cannot be used multiple times; see `namelock serve --help`",
    );
}

#[test]
fn what_is_missing_is_said_after_a_colon() {
    assert_eq!(
        usage_of(&["namelock", "names", "move", "one"]),
        "usage: the following required arguments were not provided: --to <DATABASE>; see `namelock names move --help`"
    );
}

#[test]
fn a_token_has_only_rights_of_its_kind() {
    let wrong = |line: &str| {
        let Command::Token(command) = Cli::try_parse_from(line.split(' ')).unwrap().command else {
            panic!("{line} makes a token");
        };
        new_token::run(&command).unwrap_err().to_string()
    };
    assert_eq!(
        wrong("namelock token new --rights find,fly"),
        "--rights: `fly` is none; a right is register, find, free, update, list or log"
    );
    assert_eq!(
        wrong("namelock token new --admin --rights find"),
        "--rights: `find` is none; a right is read, names or write"
    );
}

#[test]
fn every_flag_is_read() {
    let line =
        "namelock serve --config c --listen l --admin a --lock k --names n --tenants t --cache h --open --admin-open";
    let Command::Serve(ServeCommand { flags, .. }) = Cli::try_parse_from(line.split(' ')).unwrap().command else {
        panic!("{line} serves");
    };
    assert!(flags.open && flags.admin_open);
    let all = [
        &flags.config,
        &flags.listen,
        &flags.admin,
        &flags.lock,
        &flags.names,
        &flags.tenants,
        &flags.cache,
    ];
    let all: Vec<_> = all
        .into_iter()
        .map(|flag| flag.as_deref().and_then(|text| text.to_str()).unwrap())
        .collect();
    assert_eq!(all, ["c", "l", "a", "k", "n", "t", "h"]);
}
