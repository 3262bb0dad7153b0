use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};

use super::*;

/// Answers each request with itself, once it is let to, and tells what it was sent.
struct Echo {
    sent: mpsc::UnboundedSender<(String, Vec<&'static str>)>,
    go: Arc<Semaphore>,
}

impl Sends for Echo {
    type Request = &'static str;
    type Answer = &'static str;

    fn key<'a>(request: &'a &'static str) -> Option<&'a str> {
        request.strip_prefix("any ").is_none().then_some(*request)
    }

    async fn send(&self, tenant: &str, requests: Vec<&'static str>) -> Vec<&'static str> {
        self.sent.send((tenant.to_owned(), requests.clone())).unwrap();
        self.go.acquire().await.unwrap().forget();
        assert!(!requests.contains(&"panic"), "as the test wants");
        requests
    }
}

struct Test {
    batches: Arc<Batches<Echo>>,
    sent: mpsc::UnboundedReceiver<(String, Vec<&'static str>)>,
    go: Arc<Semaphore>,
}

type Asked = tokio::task::JoinHandle<Result<Option<&'static str>, Full>>;

impl Test {
    fn new(queue: usize, most: usize) -> Self {
        let (sender, sent) = mpsc::unbounded_channel();
        let go = Arc::new(Semaphore::new(0));
        let echo = Echo {
            sent: sender,
            go: Arc::clone(&go),
        };
        let batches = Arc::new(Batches::new(echo, queue, most));
        Self { batches, sent, go }
    }

    /// Asks, and returns when it waits or is under way.
    async fn ask(&self, tenant: &'static str, request: &'static str) -> Asked {
        let batches = Arc::clone(&self.batches);
        let asked = tokio::spawn(async move { batches.ask(tenant, request).await });
        // Of the one thread: the task runs until it waits.
        tokio::task::yield_now().await;
        asked
    }

    async fn next(&mut self) -> (String, Vec<&'static str>) {
        self.sent.recv().await.unwrap()
    }

    fn is_idle(&self) -> bool {
        self.batches.0.state.lock().under_way.is_empty()
    }
}

fn of(tenant: &str, requests: &[&'static str]) -> (String, Vec<&'static str>) {
    (tenant.to_owned(), requests.to_vec())
}

#[tokio::test]
async fn who_is_alone_goes_at_once_and_what_comes_meanwhile_goes_together() {
    let mut test = Test::new(100, 3);
    let mut asked = Vec::new();
    for request in ["a", "b", "c", "d", "e", "f"] {
        asked.push(test.ask("t", request).await);
    }
    asked.push(test.ask("other", "g").await);
    assert_eq!(test.next().await, of("t", &["a"]));
    assert_eq!(test.next().await, of("t", &["b"]));
    assert_eq!(
        test.next().await,
        of("other", &["g"]),
        "it does not wait for another tenant"
    );
    assert!(test.sent.is_empty(), "two of a tenant are under way");
    test.go.add_permits(1);
    assert_eq!(test.next().await, of("t", &["c", "d", "e"]), "as many as may");
    test.go.add_permits(100);
    assert_eq!(test.next().await, of("t", &["f"]));
    for (asked, request) in asked.into_iter().zip(["a", "b", "c", "d", "e", "f", "g"]) {
        assert_eq!(asked.await.unwrap().unwrap(), Some(request));
    }
    while !test.is_idle() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_has_a_key_in_common_does_not_go_together() {
    let mut test = Test::new(100, 100);
    let mut asked = Vec::new();
    for request in ["1", "2", "a", "a", "b", "any x", "any x", "a"] {
        asked.push(test.ask("t", request).await);
    }
    assert_eq!((test.next().await.1, test.next().await.1), (vec!["1"], vec!["2"]));
    test.go.add_permits(100);
    assert_eq!(test.next().await, of("t", &["a", "b", "any x", "any x"]));
    assert_eq!(test.next().await, of("t", &["a"]));
    assert_eq!(test.next().await, of("t", &["a"]));
    for asked in asked {
        assert!(asked.await.unwrap().unwrap().is_some());
    }
}

#[tokio::test]
async fn who_has_given_up_is_not_sent_and_ends_no_batch_that_it_began() {
    let mut test = Test::new(100, 100);
    let mut asked = Vec::new();
    for request in ["1", "2", "gone", "stays"] {
        asked.push(test.ask("t", request).await);
    }
    // It began a batch, and another one waits.
    asked[0].abort();
    asked[2].abort();
    assert_eq!((test.next().await.1, test.next().await.1), (vec!["1"], vec!["2"]));
    while !asked[2].is_finished() {
        tokio::task::yield_now().await;
    }
    test.go.add_permits(100);
    assert_eq!(test.next().await, of("t", &["stays"]));
    assert_eq!(asked.pop().unwrap().await.unwrap().unwrap(), Some("stays"));
}

#[tokio::test]
async fn what_the_queue_has_no_room_for_is_refused() {
    let mut test = Test::new(2, 100);
    let mut asked = Vec::new();
    for request in ["1", "2"] {
        asked.push(test.ask("t", request).await);
        test.next().await;
    }
    for request in ["3", "4"] {
        asked.push(test.ask("t", request).await);
    }
    // As in every such queue, one tenant gets half of it, rounded up.
    assert!(test.batches.ask("t", "5").await.is_err());
    test.go.add_permits(100);
    let mut refused = 0;
    for asked in asked {
        refused += usize::from(asked.await.unwrap().is_err());
    }
    assert_eq!(refused, 1);
}

#[tokio::test]
async fn a_batch_that_panics_is_given_up_and_the_next_one_goes() {
    let mut test = Test::new(100, 100);
    test.go.add_permits(100);
    let asked = test.ask("t", "panic").await;
    assert_eq!(asked.await.unwrap().unwrap(), None);
    while !test.is_idle() {
        tokio::task::yield_now().await;
    }
    let asked = tokio::time::timeout(Duration::from_secs(60), test.batches.ask("t", "next"));
    assert_eq!(asked.await.unwrap().unwrap(), Some("next"));
    assert_eq!(test.next().await, of("t", &["panic"]));
}
