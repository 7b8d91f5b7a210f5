import time, json
import tests.end_to_end.test_network as t
from tests.end_to_end.test_network import *
from tests.conftest import *
T=time.time()
def log(*a): print(f"{time.time()-T:6.1f}", *a, flush=True)
for cls,names in ((t.Agent,["wait_ready"]),):
    for n in names:
        def wrap(f=getattr(cls,n)):
            def g(*a,**k):
                s=time.time(); r=f(*a,**k); log(f.__name__,a[1:],"took",round(time.time()-s,2),repr(r)); return r
            return g
        setattr(cls,n,wrap())
ra=t.read_all
def rr(*a,**k):
    s=time.time(); r=ra(*a,**k); log("read_all",a[1].sent,"took",round(time.time()-s,2)); return r
t.read_all=rr
la=t.lasting
def l(s):
    r=la(s)
    if isinstance(s,dict) and "records" in s: log(json.dumps(r)[:1500]); log({k for k in s}-{k for k in r})
    return r
t.lasting=l
to=t.told
def tt(*a): r=to(*a); log(r); return r
t.told=tt
