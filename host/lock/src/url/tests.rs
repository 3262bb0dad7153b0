use super::*;

fn parse(url: &str) -> LockUrl {
    url.parse().unwrap()
}

fn refused(url: &str) -> String {
    url.parse::<LockUrl>().unwrap_err().to_string()
}

#[test]
fn a_url_says_where_the_locks_are() {
    let memcached = |servers: &[&str]| LockUrl::Memcached(MemcachedUrl::plain(servers.iter().copied()));
    assert_eq!(parse("memory:"), LockUrl::Memory);
    assert_eq!(parse("memcached://a:1"), memcached(&["a:1"]));
    assert_eq!(parse("memcached://a:1,b:2"), memcached(&["a:1", "b:2"]));
    assert_eq!(memcached(&["a:1", "b:2"]).to_string(), "memcached://a:1,b:2");
    assert_eq!(parse("memcached://[::1]:11211/"), memcached(&["[::1]:11211"]));
}

#[test]
fn a_url_says_how_the_servers_are_spoken_to() {
    let LockUrl::Memcached(url) = parse("memcacheds://ann:p%40ss%3A%2C%25!@a:1,[::1]:2") else {
        panic!("it is a URL of memcached");
    };
    assert!(url.tls);
    assert_eq!(url.servers, ["a:1", "[::1]:2"]);
    let login = url.login.unwrap();
    assert_eq!((login.user(), login.password()), ("ann", "p@ss:,%!"));
    assert_eq!(server_name("[::1]:2").unwrap().to_str(), "::1");
    assert_eq!(
        server_name("cache.example.org:1").unwrap().to_str(),
        "cache.example.org"
    );

    let LockUrl::Memcached(plain) = parse("memcached://ann:pass@a:1") else {
        panic!("it is a URL of memcached");
    };
    assert!(!plain.tls && plain.login.is_some());
}

#[test]
fn a_bad_url_is_refused_with_a_way_to_fix_it() {
    for url in [
        "",
        "memory",
        "redis://a:1",
        "memcached://",
        "memcached://a",
        "memcached://a:0",
        "memcached://:1",
        "memcached://a:1,",
        "memcached://a:1,a:1",
        "memcacheds://a b:1",
    ] {
        let error = refused(url);
        assert!(
            error.contains(url) && (error.contains("host:port") || error.contains("memory:")),
            "{url}: {error}"
        );
    }
    assert!(refused("memcached://a:b").contains("host:port"));
}

#[test]
fn a_password_is_not_shown() {
    let url = parse("memcacheds://a%20b:s3cret@a:1,b:2".replace("%20", "%2B").as_str());
    for shown in [url.to_string(), format!("{url:?}")] {
        assert!(shown.contains('a') && !shown.contains("s3cret"), "{shown}");
    }
    assert_eq!(url.to_string(), "memcacheds://a%2Bb@a:1,b:2");
    let error = refused(&url.to_string());
    assert!(
        error.contains("a user and no password"),
        "what is shown is no URL: {error}"
    );
}

#[test]
fn a_url_with_a_wrong_password_is_refused_and_the_password_is_not_shown() {
    let long = format!("memcached://u:{}@a:1", "s3c".repeat(100));
    for (url, expected) in [
        ("redis://user:s3c@ret@a:1", "memcached://host:port"),
        ("memcached://user:s3c@ret@a:1", "%40 for @"),
        ("memcached://a:1,u:s3cret@b:2", "before the first server"),
        ("memcached://user:s3c%zzret@a:1", "%25 for %"),
        ("memcached://user:s3c%", "host:port"),
        ("memcached://user:s3cret", "host:port"),
        ("memcached://user:s3c%20ret@a:1", "blanks"),
        ("memcached://user:s3c%0D%0Aret@a:1", "control"),
        ("memcached://us%3Aer:s3cret@a:1", "colon"),
        ("memcached://:s3cret@a:1", "empty"),
        ("memcached://s3cret:@a:1", "empty"),
        ("memcached://s3cret@a:1", "no password"),
        ("memcached://user:s3c%FFret@a:1", "UTF-8"),
        (long.as_str(), "shorter"),
        ("memcached://user:s3cret@a", "host:port"),
    ] {
        let error = refused(url);
        assert!(error.contains(expected) && !error.contains("s3c"), "{url}: {error}");
    }
}
