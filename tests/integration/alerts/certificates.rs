//! Certificates that nobody renews.

use std::time::{Duration, SystemTime};

use namelock_test_servers::Authority;

use super::faults::Fault;
use super::{Watch, instance};
use crate::tls::{builder, put};

const DAY: Duration = Duration::from_hours(24);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_ends_soon_or_has_expired_raises_alerts() {
    let watch = Watch::start();
    let authority = Authority::new();
    let now = SystemTime::now();
    let show_until = |folder, end| put(folder, &authority.sign_until(&["127.0.0.1"], end));
    let host = builder(&authority, "").demo().start();
    show_until(host.folder(), now + 15 * DAY);
    host.wait_until_ready();
    watch.begin(&[&host]).await;
    let instance = instance(&host);
    let public = [("listener", "http"), ("instance", &*instance)];

    watch.is_quiet(Fault::CertificateHasExpired, &public).await;
    watch
        .raises(Fault::CertificateEndsSoon, &public, || {
            show_until(host.folder(), now + 13 * DAY);
        })
        .await;
    assert!(!watch.fires(Fault::CertificateHasExpired, &public).await);
    watch
        .raises(Fault::CertificateHasExpired, &public, || {
            show_until(host.folder(), now - DAY);
        })
        .await;
    watch.is_quiet(Fault::CertificateEndsSoon, &public).await;
    show_until(host.folder(), now + 15 * DAY);
    watch.is_quiet(Fault::CertificateHasExpired, &public).await;
}
