//! Does several writes at once in every way that is refused, and answers why, then what is saved: `none: …; doubled: …; …; [b]`.

use std::time::Duration;

use namelock_guest::{Change, Query, Registration, Rejection, Request, SaveError, Write, acquire_all, apply, list};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    let (prefix, owner) = (&request.name, request.owner.as_str());
    let names = ["a", "b", "c"].map(|letter| format!("{prefix}-{letter}"));
    let leases = acquire_all(&names.each_ref().map(String::as_str), Duration::ZERO)?;
    let [a, b, c] = leases.as_slice() else {
        return Err(Rejection::Unavailable(format!("{} leases", leases.len())));
    };
    b.save(owner, None, &[])?;
    let save = |lease| Write::save(lease, owner, None, &[]);
    let change = || Change {
        owner: Some("eve".to_owned()),
        ..Change::default()
    };
    let tries = [
        ("none", Vec::new()),
        ("too many", (0..9).map(|_| save(a)).collect()),
        ("doubled", vec![save(a), save(c), save(a)]),
        ("update of none", vec![save(a), Write::update(c, change())]),
        ("free of none", vec![save(a), Write::free(c)]),
        (
            "no lifetime",
            vec![save(a), Write::save(c, owner, Some(Duration::ZERO), &[])],
        ),
        ("taken", vec![save(a), Write::update(c, change()), save(b)]),
        ("taken too", vec![save(a), save(b), save(c)]),
    ];
    let mut told = Vec::new();
    for (what, writes) in tries {
        match apply(writes) {
            Err(SaveError::Invalid { reason }) => told.push(format!("{what}: {reason}")),
            Err(SaveError::Taken(found)) => told.push(format!("{what}: {} has {}", found.owner, found.name)),
            Err(error) => return Err(error.into()),
            Ok(_) => return Err(Rejection::Unavailable(format!("{what} was done"))),
        }
    }
    let query = Query {
        prefix: prefix.clone(),
        ..Query::default()
    };
    let saved: Vec<_> = list(&query)?
        .registrations
        .into_iter()
        .map(|found| found.name)
        .collect();
    b.free()?;
    told.push(format!("{saved:?}"));
    Err(Rejection::Invalid(told.join("; ")))
}
