//! What a tenant may keep.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use namelock_names::{Free, QuotaKind, Save, SaveError, Usage};

use crate::{Database, eventually, free, is_taken_by, quota, save};

suite! {
    a_tenant_at_its_quota_of_registrations_saves_no_other_name
    a_tenant_at_its_quota_of_bytes_saves_nothing_longer
    tenants_do_not_share_a_quota
    freed_names_make_room_once_their_retention_is_over
    usage_is_what_the_rows_add_up_to
}

// Shows P6: beyond the quota nothing is written.
async fn a_tenant_at_its_quota_of_registrations_saves_no_other_name(db: Database) {
    let wish = |name: &str, token| Save {
        quota: quota(2, 1 << 30),
        ..save(name, "ann", token)
    };
    db.names.save(wish("a", 1)).await.unwrap();
    db.other.save(wish("b", 1)).await.unwrap();
    let usage = db.names.usage("t").await.unwrap();
    assert_eq!((usage.registrations, usage), (2, db.recount("t").await));
    for names in [&db.names, &db.other] {
        let refused = names.save(wish("c", 1)).await;
        assert_eq!(refused, Err(SaveError::Quota(QuotaKind::Registrations)));
        assert_eq!(names.find("t", "c").await.unwrap(), None);
        assert_eq!(names.usage("t").await.unwrap(), usage);
    }
    // What else is in the way of a write is said first.
    is_taken_by(db.names.save(wish("a", 2)).await, "ann");
    // The row of a freed name counts, so it can be saved again, and no other name can.
    assert!(db.names.free(free("a", 3)).await.unwrap());
    assert_eq!(db.names.usage("t").await.unwrap(), usage);
    assert_eq!(
        db.names.save(wish("c", 3)).await,
        Err(SaveError::Quota(QuotaKind::Registrations))
    );
    assert_eq!(db.names.save(wish("a", 2)).await, Err(SaveError::LeaseLost));
    db.names.save(wish("a", 3)).await.unwrap();
}

// Shows P6: beyond the quota nothing is written.
async fn a_tenant_at_its_quota_of_bytes_saves_nothing_longer(db: Database) {
    // Of a row: 128, the tenant `t`, a name of one byte, the owner `ann`, and the attributes `[]` or `[["k","vv"]]`.
    let (short, long) = (128 + 1 + 1 + 3 + 2, 128 + 1 + 1 + 3 + 12);
    let wish = |name: &str, token, attributes: &[(&str, &str)], bytes| Save {
        quota: quota(100, bytes),
        attributes: attributes
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        ..save(name, "ann", token)
    };
    let kv = &[("k", "vv")];
    let refused = Err(SaveError::Quota(QuotaKind::Bytes));
    assert_eq!(db.names.save(wish("a", 1, &[], short - 1)).await, refused);
    db.names.save(wish("a", 1, &[], short)).await.unwrap();
    assert_eq!(db.names.save(wish("b", 1, kv, short + long - 1)).await, refused);
    db.other.save(wish("b", 1, kv, short + long)).await.unwrap();
    assert_eq!(db.names.usage("t").await.unwrap().bytes, short + long);
    // Only the difference to the row that is replaced counts.
    assert!(db.names.free(free("a", 2)).await.unwrap());
    assert_eq!(db.names.save(wish("a", 2, kv, 2 * long - 1)).await, refused);
    assert_eq!(db.names.find("t", "a").await.unwrap(), None);
    db.names.save(wish("a", 2, kv, 2 * long)).await.unwrap();
    // A row that does not grow is written under any quota.
    assert!(db.names.free(free("a", 3)).await.unwrap());
    db.other.save(wish("a", 3, &[], 0)).await.unwrap();
    assert_eq!(db.names.usage("t").await.unwrap(), db.recount("t").await);
    assert_eq!(db.names.usage("t").await.unwrap().bytes, short + long);
}

async fn tenants_do_not_share_a_quota(db: Database) {
    for tenant in ["t", "u", "v"] {
        let wish = |name: &str| Save {
            tenant: tenant.to_owned(),
            quota: quota(1, 1 << 30),
            ..save(name, "ann", 1)
        };
        db.names.save(wish("a")).await.unwrap();
        assert_eq!(
            db.other.save(wish("b")).await,
            Err(SaveError::Quota(QuotaKind::Registrations))
        );
        assert_eq!(db.names.usage(tenant).await.unwrap().registrations, 1);
    }
    assert_eq!(db.names.usage("nobody").await.unwrap(), Usage::default());
}

async fn freed_names_make_room_once_their_retention_is_over(db: Database) {
    let wish = |name: &str| Save {
        quota: quota(1, 1 << 30),
        ..save(name, "ann", 1)
    };
    db.names.save(wish("a")).await.unwrap();
    assert!(db.names.free(free("a", 1)).await.unwrap());
    assert_eq!(
        db.names.save(wish("b")).await,
        Err(SaveError::Quota(QuotaKind::Registrations))
    );
    let purging = db.without_retention().await;
    eventually(async || purging.save(wish("b")).await.is_ok()).await;
    assert_eq!(db.names.usage("t").await.unwrap(), db.recount("t").await);
    assert_eq!(db.names.usage("t").await.unwrap().registrations, 1);
}

// Whatever three processes save, free and purge at once.
async fn usage_is_what_the_rows_add_up_to(db: Database) {
    const TENANTS: [&str; 3] = ["t", "u", "v"];
    let purging = db.without_retention().await;
    let token = Arc::new(AtomicU64::new(1));
    let tasks: Vec<_> = (0..9_usize)
        .map(|task| {
            let names = Arc::clone([&db.names, &db.other, &purging][task % 3]);
            let token = Arc::clone(&token);
            tokio::spawn(async move {
                for step in 0..40 {
                    // Any mixture does, as long as the tasks meet at the names.
                    let pick = step * 31 + task * 17 + step * step * task;
                    let (tenant, name) = (TENANTS[pick % 3], format!("n\0ü{}", pick % 7));
                    let token = token.fetch_add(1, Relaxed);
                    if step % 2 == 0 {
                        let wish = Save {
                            tenant: tenant.to_owned(),
                            attributes: vec![("k".to_owned(), "\"ü".repeat(pick % 50))],
                            quota: quota(6, 2000),
                            ..save(&name, &"o".repeat(1 + pick % 9), token)
                        };
                        let _ = names.save(wish).await;
                    } else {
                        let wish = Free {
                            tenant: tenant.to_owned(),
                            ..free(&name, token)
                        };
                        let _ = names.free(wish).await;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for tenant in TENANTS {
        for names in [&db.names, &db.other] {
            // A purge may come between the two counts.
            eventually(async || names.usage(tenant).await.unwrap() == db.recount(tenant).await).await;
        }
    }
}
