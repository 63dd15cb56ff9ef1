//! All interleavings of small worlds.
use cache_tests::protocol::*;
#[test]
fn smoke() {
    let base = Scenario::new("tag", Covers::Tag);
    for (s, n) in [
        (Scenario { readers: [(0,1),(1,1),(0,0)], writers: [Some((2,false)), None], faults: Faults{evictions:1, ..Default::default()}, ..base }, "plain 2r1w1e"),
        (Scenario { readers: [(0,2),(1,2),(0,0)], writers: [Some((2,false)), Some((2,false))], faults: Faults{evictions:1, ..Default::default()}, ..base }, "plain 2x2r 2w1e"),
        (Scenario { readers: [(0,2),(0,0),(0,0)], l1:[true,false,false], writers: [Some((2,false)), None], clock:true, faults: Faults{cuts:1, ..Default::default()}, ..base }, "l1 1x2r 1w cut"),
        (Scenario { readers: [(0,2),(0,0),(0,0)], l1:[true,false,false], writers: [Some((2,true)), None], clock:true, faults: Faults{crashes:1, ..Default::default()}, ..base }, "l1 1x2r 1w fence crash"),
    ] {
        let at = std::time::SystemTime::UNIX_EPOCH; let _ = at;
        let f = explore(&s, 20_000_000);
        eprintln!("{n}: {} states {} steps depth {} {:?}", f.states, f.steps, f.depth, f.sights);
        if let Some(v) = f.violation { eprintln!("{v}"); }
    }
}
