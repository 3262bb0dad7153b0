use super::*;

fn parse(text: &str) -> Result<Vec<Scenario>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.toml");
    std::fs::write(&path, text).unwrap();
    let lines = |errors: Vec<ConfigError>| {
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        lines.join("\n").replace(&path.display().to_string(), "s.toml")
    };
    read(&path).map_err(lines)
}

#[test]
fn what_is_wrong_with_a_step_is_said_with_its_place() {
    for (step, expect) in [
        (
            "owner = 'ann'",
            "a step has one of register, update, free, find and advance_ms",
        ),
        (
            "register = 'a'\nfind = 'a'",
            "a step has one of register, update, free, find and advance_ms",
        ),
        ("register = 'a'", "this step needs an owner"),
        ("find = 'a'\nowner = 'ann'", "find has no owner"),
        ("free = 'a'\nowner = 'ann'\nlifetime_ms = 1", "free has no lifetime_ms"),
        ("free = 'a'\nowner = 'ann'\nkey = 'k'", "free has no key"),
        (
            "register = 'a'\nowner = 'ann'\nnew_owner = 'bob'",
            "register has no new_owner",
        ),
        (
            "register = 'a'\nowner = 'ann'\nlifetime_ms = 'endless'",
            "register has a lifetime in milliseconds, or none",
        ),
        (
            "update = 'a'\nowner = 'ann'\nlifetime_ms = 'long'",
            "`long` is neither milliseconds nor \"endless\"",
        ),
        (
            "update = 'a'\nowner = 'ann'\nlifetime_ms = -1",
            "a lifetime is not negative",
        ),
        ("register = 'a'\nowner = 'ann'\ncallers = 0", "callers is at least 1"),
        ("register = 'a'\nowner = 'ann'\ncallers = 257", "callers is at most 256"),
        ("register = 'a'\nowner = 'ann'\nwinners = 2", "winners needs callers"),
        (
            "register = 'a'\nowner = 'ann'\ncallers = 2\nwinners = 3",
            "winners is at most 2, the number of callers",
        ),
        (
            "find = 'a'\ncallers = 2\nwinners = 1",
            "winners is for callers of whom some succeed and others do not",
        ),
        (
            "register = 'a'\nowner = 'ann'\nothers = ['name_taken']",
            "others needs callers",
        ),
        (
            "register = 'a'\nowner = 'ann'\nexpect = { code = 'taken' }",
            "`taken` is no code of docs/errors.md",
        ),
        (
            "register = 'a'\nowner = 'ann'\ncallers = 2\nothers = ['busy']",
            "`busy` is no code of docs/errors.md",
        ),
        (
            "register = 'a'\nowner = 'ann'\nexpect = { code = 'name_taken', owner = 'bob' }",
            "but not both",
        ),
        (
            "register = 'a'\nowner = 'ann'\nexpect = { detail = 'x' }",
            "only beside a code",
        ),
        (
            "free = 'a'\nowner = 'ann'\nexpect = { owner = 'bob' }",
            "free answers nothing",
        ),
        (
            "advance_ms = 9223372036854775807",
            "advance_ms is at most 3153600000000",
        ),
        (
            "advance_ms = 1\nowner = 'ann'",
            "a step with advance_ms has nothing else",
        ),
        ("register = 'a'\nowner = 'ann'\ncolour = 1", "unknown field `colour`"),
    ] {
        let text = format!("[[scenario]]\nname = 'x'\n[[scenario.step]]\n{step}\n");
        let error = parse(&text).err().unwrap();
        assert!(
            error.starts_with("s.toml, line ") && error.contains(expect),
            "{step}: {error}"
        );
    }
}

#[test]
fn what_is_wrong_with_each_scenario_of_a_file_is_said_at_once() {
    let text = "[[scenario]]\nname = 'x'\ngiven = [{ name = 'a' }]\n[[scenario.step]]\nfind = 'a'\n\
        [[scenario]]\nname = 'y'\n[[scenario.step]]\nregister = 'a'\n[[scenario]]\nname = 'z'\n[[scenario.step]]\nfind = 7\n";
    let error = parse(text).err().unwrap();
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 3, "{error}");
    assert!(lines.iter().all(|line| line.starts_with("s.toml, line ")), "{error}");
    let error = parse("scenario = 1").err().unwrap();
    assert!(error.starts_with("s.toml, line 1"), "{error}");
    let error = parse("[[scenario").err().unwrap();
    assert!(error.contains("this is not TOML"), "{error}");
}

#[test]
fn a_caller_sends_its_number_and_is_expected_to_get_it() {
    let text = "[[scenario]]\nname = 'x'\n[[scenario.step]]\nregister = 'a {n}'\nowner = 'b {n}'\nattributes = { c = '{n}' }\nkey = 'k {n}'\ncallers = 2\n\
        expect = { name = 'd {n}', owner = 'e {n}', attributes = { f = '{n}' } }\n";
    let scenarios = parse(text).unwrap();
    let Step::Ask(ask) = &scenarios[0].steps[0] else {
        panic!("{scenarios:?}");
    };
    let second = ask.of_caller(2);
    let Request::Register { owner, attributes, .. } = &second.request else {
        panic!("{second:?}");
    };
    assert_eq!(
        (second.name.as_str(), owner.as_str(), attributes["c"].as_str()),
        ("a 2", "b 2", "2")
    );
    assert_eq!(second.key.as_deref(), Some("k 2"));
    let Expect {
        name,
        owner,
        attributes,
        ..
    } = &second.expect;
    assert_eq!((name.as_deref(), owner.as_deref()), (Some("d 2"), Some("e 2")));
    assert_eq!(attributes.as_ref().unwrap()["f"], "2");
}
