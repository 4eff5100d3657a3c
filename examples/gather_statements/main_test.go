package main

import (
	"testing"

	"github.com/poolgate/poolgate/examples/internal/printed"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

func TestOutput(t *testing.T) { printed.Compare(t, run, nil, want) }

const want = ` 0: {ID:76 Data:a_75}
 1: {ID:69 Data:a_68}
 2: {ID:40 Data:a_39}
 3: {ID:34 Data:a_33}
 4: {ID:22 Data:a_21}
 5: {ID:35 Data:a_34}
 6: {ID:49 Data:a_48}
 7: {ID:39 Data:a_38}
 8: {ID:38 Data:a_37}
 9: {ID:32 Data:a_31}
10: {ID:30 Data:a_29}
11: {ID:44 Data:a_43}
12: {ID:31 Data:a_30}
13: {ID:85 Data:a_84}
14: {ID:88 Data:a_87}
15: {ID:42 Data:a_41}
16: {ID:22 Data:a_21}
17: {ID:4 Data:a_3}
18: {ID:58 Data:a_57}
19: {ID:63 Data:a_62}
20: {ID:73 Data:a_72}
21: {ID:52 Data:a_51}
22: {ID:65 Data:a_64}
23: {ID:76 Data:a_75}
24: {ID:65 Data:a_64}
25: {ID:56 Data:a_55}
26: {ID:2 Data:a_1}
27: {ID:66 Data:a_65}
28: {ID:36 Data:a_35}
29: {ID:47 Data:a_46}
30 results, 27 objects
independent: a sum was wrong: true
snapshot: a sum was wrong: false
serial: a sum was wrong: false
`
