package bench
import ("testing";"context";"os";"strconv";"fmt";"sort")
func TestQuick(t *testing.T){
 ops,_:=strconv.Atoi(os.Getenv("OPS")); lim,_:=strconv.Atoi(os.Getenv("LIMIT")); mo,_:=strconv.Atoi(os.Getenv("MAXOPEN"))
 if lim==0 {lim=40}
 b,err:=Open(t.Context(),Config{DSN:os.Getenv("DSN"),Ops:ops,Seed:1,Limit:lim,MaxOpen:mo}); if err!=nil{t.Fatal(err)}
 defer b.Close()
 ctx:=context.Background(); if os.Getenv("CANCEL")!="" { c,cancel:=context.WithCancel(ctx); defer cancel(); ctx=c}; r,err:=b.Run(ctx,Case{Form(os.Getenv("FORM")),Driver(os.Getenv("DRIVER")),Strategy(os.Getenv("STRATEGY"))}); if err!=nil{t.Fatal(err)}
 var ks []string; for k,n:=range r.ErrorsByKind{ks=append(ks,fmt.Sprint(k,":",n))}; sort.Strings(ks)
 fmt.Printf("%v %.2fs %.0f/s err=%d %v unknown=%d waited=%.1f worked=%.2f peak=%d mean=%.1f cpu=%.1f ver=%v %s\n read %+v\n write %+v\n",r.Case,r.Seconds,r.OpsPerSecond,r.Errors,ks,r.Unknown,r.Waited,r.Worked,r.PeakConnections,r.MeanConnections,r.ClientCPU,r.Verified,r.Problem,r.Read,r.Write)
}
