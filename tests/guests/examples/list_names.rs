//! Lists the names that begin with the one that was asked for, in pages of two, and answers them: `[a1] [a2] and a3`.

use namelock_guest::{Query, Registration, Rejection, Request, list};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    let owner = Some(request.owner).filter(|owner| owner != "anybody");
    let mut query = Query {
        prefix: request.name,
        owner,
        limit: 2,
        ..Query::default()
    };
    let mut pages = Vec::new();
    loop {
        let page = list(&query)?;
        let names: Vec<_> = page.registrations.into_iter().map(|found| found.name).collect();
        pages.push(names.join(" "));
        query.after = page.next;
        if query.after.is_none() {
            return Err(Rejection::Invalid(format!("pages: {}", pages.join(", "))));
        }
    }
}
