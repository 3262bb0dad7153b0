//! Asks for lists that there cannot be, and answers how many were refused, and why: `6 refused: …`.

use namelock_guest::{NamesError, Query, Registration, Rejection, Request, list};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    let long = "x".repeat(256);
    let of = |change: &dyn Fn(&mut Query)| {
        let mut query = Query::default();
        change(&mut query);
        query
    };
    let wrong = [
        of(&|query| query.limit = 0),
        of(&|query| query.limit = 1001),
        of(&|query| query.prefix = long.clone()),
        of(&|query| query.owner = Some(String::new())),
        of(&|query| query.owner = Some(long.clone())),
        of(&|query| query.after = Some(String::new())),
    ];
    let mut reasons = Vec::new();
    for query in &wrong {
        match list(query) {
            Err(NamesError::Invalid { reason }) => reasons.push(reason),
            Err(error) => return Err(error.into()),
            Ok(page) => return Err(Rejection::Unavailable(format!("{query:?} was answered with {page:?}"))),
        }
    }
    let why = format!("{} refused: {}", reasons.len(), reasons.join("; "));
    Err(Rejection::Invalid(why))
}
