//! Draws random numbers, reads its clocks, saves a name, says all of it, and ends as the name of the request says.

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime};

use namelock_guest::{Registration, Rejection, Request, find, name_lock};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    let mut drawn = [0; 8];
    getrandom::fill(&mut drawn).map_err(|error| Rejection::Unavailable(error.to_string()))?;
    // A set has another order in every instance.
    let order: HashSet<u8> = (0..8).collect();
    let begin = Instant::now();
    println!("drew {drawn:?} {order:?} at {:?}", SystemTime::now());
    name_lock(&request.name, Duration::ZERO, |lease| {
        println!("token {}, {:?} left", lease.fencing_token(), lease.remaining());
        println!("{} finds {:?}", request.owner, find(&request.name)?);
        std::thread::sleep(Duration::from_millis(3));
        println!("after {:?}", begin.elapsed());
        let saved = lease.save(&request.owner, request.lifetime, &request.attributes)?;
        eprint!("saved {saved:?}");
        match request.name.as_str() {
            "spin" => loop {
                std::hint::spin_loop();
            },
            "sleep" => loop {
                std::thread::sleep(Duration::from_secs(60));
            },
            "watch" => loop {
                std::hint::black_box(lease.remaining());
            },
            "grow" => {
                let mut all = Vec::new();
                loop {
                    all.push(std::hint::black_box(vec![1_u8; 1 << 20]));
                }
            }
            "give up" => Err(Rejection::Unavailable(format!("{} had bad luck", request.owner))),
            "do" => Ok(saved),
            _ => panic!("the number {} is bad luck", u64::from_le_bytes(drawn)),
        }
    })
}
