import time, threading
from darkroom.projector.testing import traffic
from darkroom.projector.projections.families import JOBS
from darkroom.projector.replay import Mode, replay
from darkroom.projector.shelf import Shelf
from darkroom.projector.reading import stretch
import bson


def test_perf(bench):
    recs = traffic(1, 6000, 3, poison=False)
    bench.append(recs[:9000])
    bench.append(recs[9000:18000])
    bench.append(recs[18000:])
    n = len(recs)
    t = time.time()
    with bench.live() as live:
        bench.wait_projected(1)
        t0 = time.time()
        p0 = bench.projected()
        bench.wait_projected(n)
        t1 = time.time()
        print("live", n, (n - p0) / (t1 - t0), t1 - t)
        # latency
        more = traffic(2, 120, 3, poison=False)
        lat = []
        jobs = bench.store.database["jobs_g1"]
        for r in more[:300]:
            a = bench.log.append(r.partition, r.key, r.value, r.headers)
            s = time.time()
            off = a.result(5).offset
            while True:
                c = bench.store.checkpoints.find_one({"_id": f"jobs:g1:p{r.partition}"})
                if c["next"] > off:
                    break
                time.sleep(0.0005)
            lat.append(time.time() - s)
            time.sleep(0.005)
        lat.sort()
        print("latency p50 %.1f p99 %.1f ms" % (lat[150] * 1e3, lat[297] * 1e3))
    t = time.time()
    c = 0
    for p in range(3):
        sh = Shelf()
        for b in stretch(bench.log, p, 0, bench.log.end_offset(p, 5)):
            ch = JOBS.fold("t", 3, b, sh.load)
            sh.take(ch)
            c += len(b)
    print("consume+fold only", c / (time.time() - t))
    t = time.time()
    r = replay(bench.store, bench.log, bench.log.topic, JOBS, Mode.SWITCH, lambda m: None, print)
    print("replay", r.events / (time.time() - t), r.equal, r.took_s)
    t = time.time()
    r = replay(bench.store, bench.log, bench.log.topic, JOBS, Mode.CHECK, lambda m: None, print)
    print("check", r.events / (time.time() - t), r.equal, r.took_s)
