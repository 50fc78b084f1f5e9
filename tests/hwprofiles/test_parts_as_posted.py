"""Lists of parts as people post them: used servers, small PCs, laptops, workstations and rigs of
many cards. Each is the machine that was meant.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError, load_machine

POSTED = [
    ("RTX 4090 + Ryzen 9 7950X + 2x32GB DDR5-6000", "GeForce RTX 4090", 1, "Ryzen 9 7950X", 64),
    (
        "laptop RTX 4060 8GB + i7-13700H + 32GB DDR5-5200",
        "GeForce RTX 4060 Laptop",
        1,
        "Core i7-13700H",
        32,
    ),
    (
        "laptop i7-13700H + dual laptop RTX 4060 + 32GB DDR5-5200",
        "GeForce RTX 4060 Laptop",
        2,
        "Core i7-13700H",
        32,
    ),
    (
        "Mobile 4090 16GB + i9-13900HX + 64GB DDR5",
        "GeForce RTX 4090 Laptop",
        1,
        "Core i9-13900HX",
        64,
    ),
    ("RTX 3090, Ryzen 9 5950X, 128GB DDR4-3600", "GeForce RTX 3090", 1, "Ryzen 9 5950X", 128),
    (
        "2x RTX 3090 + Threadripper 3970X + 8x32GB DDR4-3200",
        "GeForce RTX 3090",
        2,
        "Ryzen Threadripper 3970X",
        256,
    ),
    (
        "dual RTX 3090 + EPYC 7302 + 256GB (8x32GB) DDR4 3200",
        "GeForce RTX 3090",
        2,
        "EPYC 7302",
        256,
    ),
    ("quad 3090s + EPYC 7532 + 512GB DDR4-3200 ECC", "GeForce RTX 3090", 4, "EPYC 7532", 512),
    ("RTX 3090 x4 + EPYC 7702 + 8x64GB DDR4-3200 RDIMM", "GeForce RTX 3090", 4, "EPYC 7702", 512),
    (
        "4 x RTX A6000 + Threadripper Pro 5995WX + 8x64GB DDR4-3200",
        "RTX A6000",
        4,
        "Ryzen Threadripper PRO 5995WX",
        512,
    ),
    ("i9-13900K, RTX 4090, 2x48GB DDR5-6400", "GeForce RTX 4090", 1, "Core i9-13900K", 96),
    ("i7 12700k + 3060 12gb + 64gb ddr4 3200mhz", "GeForce RTX 3060", 1, "Core i7-12700K", 64),
    ("i5-12400F + RTX 3060 12G + 32GB 3200MHz DDR4", "GeForce RTX 3060", 1, "Core i5-12400F", 32),
    ("Ryzen 5 5600X + RX 6700 XT + 32GB RAM", "Radeon RX 6700 XT", 1, "Ryzen 5 5600X", 32),
    (
        "Ryzen 7 5800X3D + RX 7900 XTX 24GB + 64GB DDR4-3600 CL16",
        "Radeon RX 7900 XTX",
        1,
        "Ryzen 7 5800X3D",
        64,
    ),
    (
        "Ryzen 7 7800X3D / RTX 4070 Ti Super / 64GB DDR5 6000MHz CL30",
        "GeForce RTX 4070 Ti SUPER",
        1,
        "Ryzen 7 7800X3D",
        64,
    ),
    ("9800X3D + RTX 5090 + 96GB (2x48GB) DDR5-6000", "GeForce RTX 5090", 1, "Ryzen 7 9800X3D", 96),
    (
        "9950X3D + RTX 5090 Founders Edition + 192GB DDR5",
        "GeForce RTX 5090",
        1,
        "Ryzen 9 9950X3D",
        192,
    ),
    ("9950X + RTX PRO 6000 + 4x48GB DDR5-5600", "RTX PRO 6000 Blackwell", 1, "Ryzen 9 9950X", 192),
    (
        "Core Ultra 9 285K + RTX 5080 + 2x32GB CUDIMM DDR5-8000",
        "GeForce RTX 5080",
        1,
        "Core Ultra 9 285K",
        64,
    ),
    ("Core Ultra 7 265K + Arc B580 + 48GB DDR5-6400", "Arc B580", 1, "Core Ultra 7 265K", 48),
    (
        "2x Arc Pro B60 24GB + Xeon w5-2465X + 4x32GB DDR5-4800",
        "Arc Pro B60",
        2,
        "Xeon w5-2465X",
        128,
    ),
    ("4x Arc Pro B70 + EPYC 9355 + 12x64GB DDR5-6000", "Arc Pro B70", 4, "EPYC 9355", 768),
    ("Xeon W-2295 + RTX 3090 + 256GB DDR4-2933", "GeForce RTX 3090", 1, "Xeon W-2295", 256),
    ("Xeon W-2145 + Tesla P40 + 4x32GB DDR4-2666", "Tesla P40", 1, "Xeon W-2145", 128),
    ("Xeon W-3275 + 2x RTX A5000 + 6x64GB DDR4-2933", "RTX A5000", 2, "Xeon W-3275", 384),
    ("Xeon W-3365 + RTX A6000 + 8x32GB DDR4-3200", "RTX A6000", 1, "Xeon W-3365", 256),
    (
        "Xeon w7-3465X + RTX 6000 Ada + 8x64GB DDR5-4800",
        "RTX 6000 Ada Generation",
        1,
        "Xeon w7-3465X",
        512,
    ),
    ("Xeon w9-3595X + RTX 5090 + 8x96GB DDR5-4800", "GeForce RTX 5090", 1, "Xeon w9-3595X", 768),
    (
        "i9-10980XE + 2x RTX 2080 Ti + 8x32GB DDR4-3200",
        "GeForce RTX 2080 Ti",
        2,
        "Core i9-10980XE",
        256,
    ),
    ("i9-7900X + GTX 1080 Ti + 64GB DDR4", "GeForce GTX 1080 Ti", 1, "Core i9-7900X", 64),
    ("i9-9980XE + TITAN RTX + 128GB DDR4-2666", "TITAN RTX", 1, "Core i9-9980XE", 128),
    (
        "i7-6950X + 2x GTX 1080 Ti + 8x16GB DDR4-2400",
        "GeForce GTX 1080 Ti",
        2,
        "Core i7-6950X",
        128,
    ),
    ("i7-5960X + GTX 980 Ti + 32GB DDR4", "GeForce GTX 980 Ti", 1, "Core i7-5960X", 32),
    (
        "2x Xeon E5-2680 v4 + Tesla P40 24GB + 8x32GB DDR4-2400",
        "Tesla P40",
        1,
        "2 x Xeon E5-2680 v4",
        256,
    ),
    (
        "dual Xeon E5-2690 v4 + 4x Tesla P40 + 256GB DDR4-2400 ECC",
        "Tesla P40",
        4,
        "2 x Xeon E5-2690 v4",
        256,
    ),
    (
        "dual E5-2699 v4, 3x Tesla P100 16GB, 512GB DDR4",
        "Tesla P100 PCIe",
        3,
        "2 x Xeon E5-2699 v4",
        512,
    ),
    (
        "2x E5-2696 v3 + RTX 3060 + 128GB DDR4-2133",
        "GeForce RTX 3060",
        1,
        "2 x Xeon E5-2696 v3",
        128,
    ),
    ("E5-2673 v3 + RTX 2060 12GB + 4x16GB DDR4-2133", "GeForce RTX 2060", 1, "Xeon E5-2673 v3", 64),
    ("E5-2678v3 + RX 580 8GB + 64GB DDR4", "Radeon RX 580", 1, "Xeon E5-2678 v3", 64),
    ("E5-2696v4 + 2x MI50 32GB + 8x32GB DDR4-2400", "Instinct MI50", 2, "Xeon E5-2696 v4", 256),
    (
        "2x E5-2667 v2 + Tesla M40 24GB + 16x16GB DDR3-1866",
        "Tesla M40",
        1,
        "2 x Xeon E5-2667 v2",
        256,
    ),
    ("Xeon E5-1650 v4 + RTX 3090 + 128GB DDR4-2400", "GeForce RTX 3090", 1, "Xeon E5-1650 v4", 128),
    ("Xeon E5-1680 v2 + GTX 1070 + 64GB DDR3", "GeForce GTX 1070", 1, "Xeon E5-1680 v2", 64),
    ("4x Xeon E7-8890 v4 + 1TB DDR4", "no GPU", 0, "4 x Xeon E7-8890 v4", 1024),
    (
        "2x Xeon Gold 6148 + RTX 3090 + 12x32GB DDR4-2666",
        "GeForce RTX 3090",
        1,
        "2 x Xeon Gold 6148",
        384,
    ),
    (
        "2x Xeon Gold 6248R + 2x RTX 4090 + 768GB DDR4-2933",
        "GeForce RTX 4090",
        2,
        "2 x Xeon Gold 6248R",
        768,
    ),
    ("Xeon Gold 6138 + RTX A4000 + 6x32GB DDR4-2666", "RTX A4000", 1, "Xeon Gold 6138", 192),
    (
        "2x Xeon Platinum 8175M + RTX 3090 + 384GB DDR4",
        "GeForce RTX 3090",
        1,
        "2 x Xeon Platinum 8175M",
        384,
    ),
    (
        "2x Xeon Platinum 8259CL + 4x RTX 3080 + 12x64GB DDR4-2933",
        "GeForce RTX 3080",
        4,
        "2 x Xeon Platinum 8259CL",
        768,
    ),
    (
        "Xeon Platinum 8352V + RTX 4090 + 8x32GB DDR4-2933",
        "GeForce RTX 4090",
        1,
        "Xeon Platinum 8352V",
        256,
    ),
    (
        "2x Xeon Platinum 8358 + 8x A100 80GB SXM + 1TB DDR4-3200",
        "A100 SXM",
        8,
        "2 x Xeon Platinum 8358",
        1024,
    ),
    ("Xeon Platinum 8380 + L40S + 8x64GB DDR4-3200", "L40S", 1, "Xeon Platinum 8380", 512),
    (
        "2x Xeon Platinum 8480+ + 8x H100 80GB + 2TB DDR5-4800",
        "H100 SXM",
        8,
        "2 x Xeon Platinum 8480+",
        2048,
    ),
    (
        "Xeon Platinum 8470Q + RTX 4090D 48GB + 8x64GB DDR5-4800",
        "GeForce RTX 4090 D",
        1,
        "Xeon Platinum 8470Q",
        512,
    ),
    ("Xeon Gold 6430 + RTX 4090 24GB + 480GB DDR5", "GeForce RTX 4090", 1, "Xeon Gold 6430", 480),
    ("2x Xeon 6787P + 8x H200 + 2x(8x64GB DDR5-6400)", "H200 SXM", 8, "2 x Xeon 6787P", 1024),
    ("Xeon 6980P + RTX 5090 + 12x64GB MRDIMM-8800", "GeForce RTX 5090", 1, "Xeon 6980P", 768),
    (
        "Xeon 6530P + RTX PRO 6000 Max-Q + 8x64GB DDR5-6400",
        "RTX PRO 6000 Blackwell Max-Q",
        1,
        "Xeon 6530P",
        512,
    ),
    ("Xeon Silver 4310 + Tesla T4 + 8x16GB DDR4-2667", "Tesla T4", 1, "Xeon Silver 4310", 128),
    ("EPYC 7551P + 2x RTX 3060 + 8x32GB DDR4-2666", "GeForce RTX 3060", 2, "EPYC 7551P", 256),
    (
        "EPYC 7K62 + 4x RTX 2080 Ti 22GB + 8x32GB DDR4-3200",
        "GeForce RTX 2080 Ti",
        4,
        "EPYC 7K62",
        256,
    ),
    ("2x EPYC 7R32 + 6x RTX 3090 + 16x32GB DDR4-3200", "GeForce RTX 3090", 6, "2 x EPYC 7R32", 512),
    ("EPYC 7V13 + RTX 4090 + 512GB DDR4-3200 8-channel", "GeForce RTX 4090", 1, "EPYC 7V13", 512),
    ("EPYC 7303P + RTX 3090 + 8x16GB DDR4-3200", "GeForce RTX 3090", 1, "EPYC 7303P", 128),
    (
        "EPYC 8324P + RTX 4000 SFF Ada + 6x64GB DDR5-4800",
        "RTX 4000 SFF Ada Generation",
        1,
        "EPYC 8324P",
        384,
    ),
    ("EPYC 9354P + RTX 5090 + 12x32GB DDR5-4800", "GeForce RTX 5090", 1, "EPYC 9354P", 384),
    (
        "EPYC 9654 + 2x RTX 4090 + 12-channel 768GB DDR5-4800",
        "GeForce RTX 4090",
        2,
        "EPYC 9654",
        768,
    ),
    ("2x EPYC 9684X + 24x64GB DDR5-4800", "no GPU", 0, "2 x EPYC 9684X", 1536),
    ("2x EPYC 9965 + 8x B200 + 2x(12x96GB DDR5-6400)", "B200", 8, "2 x EPYC 9965", 2304),
    (
        "EPYC 9175F + RTX PRO 6000 Blackwell Max-Q + 12x64GB DDR5-6000",
        "RTX PRO 6000 Blackwell Max-Q",
        1,
        "EPYC 9175F",
        768,
    ),
    (
        "EPYC 4564P + RTX 4000 Ada + 4x48GB DDR5-5200",
        "RTX 4000 Ada Generation",
        1,
        "EPYC 4564P",
        192,
    ),
    ("EPYC 4585PX + RTX 5070 Ti + 2x48GB DDR5-5600", "GeForce RTX 5070 Ti", 1, "EPYC 4585PX", 96),
    (
        "Threadripper 1950X + 2x Vega 64 + 64GB DDR4-2933",
        "Radeon RX Vega 64",
        2,
        "Ryzen Threadripper 1950X",
        64,
    ),
    (
        "Threadripper 2990WX + RTX 2080 Ti + 128GB DDR4",
        "GeForce RTX 2080 Ti",
        1,
        "Ryzen Threadripper 2990WX",
        128,
    ),
    (
        "Threadripper PRO 3975WX + 4x RTX 3090 + 256GB DDR4-3200",
        "GeForce RTX 3090",
        4,
        "Ryzen Threadripper PRO 3975WX",
        256,
    ),
    (
        "TR PRO 7995WX + 4x RTX 6000 Ada + 8x64GB DDR5-5200",
        "RTX 6000 Ada Generation",
        4,
        "Ryzen Threadripper PRO 7995WX",
        512,
    ),
    (
        "Threadripper 9980X + 2x RTX PRO 6000 + 4x64GB DDR5-6400",
        "RTX PRO 6000 Blackwell",
        2,
        "Ryzen Threadripper 9980X",
        256,
    ),
    (
        "Threadripper PRO 9995WX + 4x RTX PRO 6000 Max-Q + 8x96GB DDR5-6400",
        "RTX PRO 6000 Blackwell Max-Q",
        4,
        "Ryzen Threadripper PRO 9995WX",
        768,
    ),
    (
        "Threadripper 7960X + 3x 3090 + 128GB DDR5 quad channel",
        "GeForce RTX 3090",
        3,
        "Ryzen Threadripper 7960X",
        128,
    ),
    ("Intel N100 + 16GB DDR5-4800", "no GPU", 0, "Intel N100", 16),
    ("N95 + 16GB DDR4-3200", "no GPU", 0, "Intel N95", 16),
    ("i3-N305 + 32GB DDR5", "no GPU", 0, "Core i3-N305", 32),
    ("N150 + 16GB LPDDR5-4800", "no GPU", 0, "Intel N150", 16),
    ("Ryzen 7 8845HS + Radeon 780M + 2x32GB DDR5-5600", "Radeon 780M", 1, "Ryzen 7 8845HS", 64),
    ("Ryzen 9 7940HS + 780M + 64GB DDR5-5600", "Radeon 780M", 1, "Ryzen 9 7940HS", 64),
    ("Ryzen 7 6800H + Radeon 680M + 2x16GB DDR5-4800", "Radeon 680M", 1, "Ryzen 7 6800H", 32),
    (
        "Ryzen 9 6900HX + 680M + 32GB DDR5-4800 + RTX 3090 oculink",
        "GeForce RTX 3090",
        1,
        "Ryzen 9 6900HX",
        32,
    ),
    (
        "Ryzen AI 9 HX 370 + Radeon 890M + 2x48GB DDR5-5600",
        "Radeon 890M",
        1,
        "Ryzen AI 9 HX 370",
        96,
    ),
    ("Ryzen AI 9 HX 370 + 890M + 32GB LPDDR5X-7500", "Radeon 890M", 1, "Ryzen AI 9 HX 370", 32),
    (
        "Ryzen AI 9 365 + RTX 4070 Laptop + 32GB LPDDR5X-7500",
        "GeForce RTX 4070 Laptop",
        1,
        "Ryzen AI 9 365",
        32,
    ),
    ("Ryzen AI 7 350 + 860M + 2x16GB DDR5-5600", "Radeon 860M", 1, "Ryzen AI 7 350", 32),
    ("Ryzen AI Max+ 395 128GB", "Radeon 8060S", 1, "Ryzen AI Max+ 395", 128),
    (
        "AMD Ryzen AI Max+ 395 + Radeon 8060S + 128GB LPDDR5X-8000",
        "Radeon 8060S",
        1,
        "Ryzen AI Max+ 395",
        128,
    ),
    ("Ryzen AI Max+ PRO 395 64GB", "Radeon 8060S", 1, "Ryzen AI Max+ 395", 64),
    ("Ryzen AI Max+ 392 128GB", "Radeon 8060S (AI Max+ 392)", 1, "Ryzen AI Max+ 392", 128),
    ("Ryzen AI Max 385 32GB", "Radeon 8050S (AI Max 385)", 1, "Ryzen AI Max 385", 32),
    ("Ryzen 7 5700G + Vega 8 + 2x32GB DDR4-3200", "Radeon Vega 8", 1, "Ryzen 7 5700G", 64),
    ("Ryzen 5 3400G + Vega 11 + 2x8GB DDR4-2933", "Radeon Vega 11", 1, "Ryzen 5 3400G", 16),
    (
        "Ryzen 7 5800H + RTX 3060 Laptop + 32GB DDR4-3200",
        "GeForce RTX 3060 Laptop",
        1,
        "Ryzen 7 5800H",
        32,
    ),
    ("Ryzen 7 5825U + 64GB DDR4-3200", "no GPU", 0, "Ryzen 7 5825U", 64),
    (
        "Ryzen 5 4600H + GTX 1650 Ti Laptop + 16GB DDR4",
        "GeForce GTX 1650 Ti Laptop",
        1,
        "Ryzen 5 4600H",
        16,
    ),
    (
        "Ryzen 9 7945HX + RTX 4090 Laptop + 2x48GB DDR5-5200",
        "GeForce RTX 4090 Laptop",
        1,
        "Ryzen 9 7945HX",
        96,
    ),
    (
        "Ryzen 9 9955HX3D + RTX 5090 Laptop GPU + 64GB DDR5-5600",
        "GeForce RTX 5090 Laptop",
        1,
        "Ryzen 9 9955HX3D",
        64,
    ),
    (
        "i9-13980HX + RTX 4080 mobile 12GB + 32GB DDR5-4800",
        "GeForce RTX 4080 Laptop",
        1,
        "Core i9-13980HX",
        32,
    ),
    (
        "i9-14900HX + RTX 4070 Laptop + 64GB DDR5-5600",
        "GeForce RTX 4070 Laptop",
        1,
        "Core i9-14900HX",
        64,
    ),
    (
        "i7-13650HX + RTX 4060 Laptop + 2x16GB DDR5-4800",
        "GeForce RTX 4060 Laptop",
        1,
        "Core i7-13650HX",
        32,
    ),
    (
        "i7-11800H + RTX 3070 Laptop + 32GB DDR4-3200",
        "GeForce RTX 3070 Laptop",
        1,
        "Core i7-11800H",
        32,
    ),
    ("i7-1165G7 + Iris Xe + 16GB LPDDR4X-4267", "Iris Xe 96EU", 1, "Core i7-1165G7", 16),
    ("i7-1260P + Iris Xe + 2x32GB DDR4-3200", "Iris Xe 96EU", 1, "Core i7-1260P", 64),
    ("i7-1360P + 32GB LPDDR5-6400", "no GPU", 0, "Core i7-1360P", 32),
    ("Core Ultra 7 155H + 2x48GB DDR5-5600", "no GPU", 0, "Core Ultra 7 155H", 96),
    (
        "Core Ultra 7 155H + Arc 8 Xe cores + 64GB DDR5-5600",
        "Arc 8 Xe cores",
        1,
        "Core Ultra 7 155H",
        64,
    ),
    ("Core Ultra 7 258V + Arc 140V + 32GB LPDDR5X-8533", "Arc 140V", 1, "Core Ultra 7 258V", 32),
    ("Core Ultra 9 285H + Arc 140T + 2x48GB DDR5-5600", "Arc 140T", 1, "Core Ultra 9 285H", 96),
    ("Core Ultra X9 388H + 32GB LPDDR5X-9600", "no GPU", 0, "Core Ultra X9 388H", 32),
    (
        "Core Ultra 9 275HX + RTX 5080 Laptop 16GB + 64GB DDR5-6400",
        "GeForce RTX 5080 Laptop",
        1,
        "Core Ultra 9 275HX",
        64,
    ),
    ("i7-6700HQ + GTX 1060 6GB + 16GB DDR4-2133", "GeForce GTX 1060", 1, "Core i7-6700HQ", 16),
    ("i7-4790K + GTX 970 + 4x8GB DDR3-1600", "GeForce GTX 970", 1, "Core i7-4790K", 32),
    ("i5-8350U + 16GB DDR4-2400", "no GPU", 0, "Core i5-8350U", 16),
    ("i3-12100F + Arc A770 16GB + 2x16GB DDR4-3200", "Arc A770", 1, "Core i3-12100F", 32),
    ("i9-10850K + 3080 12GB + 128GB DDR4-3200", "GeForce RTX 3080", 1, "Core i9-10850K", 128),
    ("Xeon E3-1240 v5 + Quadro P2000 + 64GB DDR4-2133", "Quadro P2000", 1, "Xeon E3-1240 v5", 64),
    ("Xeon E-2288G + T1000 8GB + 128GB DDR4-2666", "T1000", 1, "Xeon E-2288G", 128),
    ("Xeon W-1290P + RTX A2000 12GB + 64GB DDR4-2933", "RTX A2000", 1, "Xeon W-1290P", 64),
    ("Xeon D-1541 + 128GB DDR4-2133", "no GPU", 0, "Xeon D-1541", 128),
    (
        "Ampere Altra Q80-30 + RTX A4500 + 8x32GB DDR4-3200",
        "RTX A4500",
        1,
        "Ampere Altra Q80-30",
        256,
    ),
    (
        "Snapdragon X Elite X1E-80-100 + 32GB LPDDR5X-8448",
        "no GPU",
        0,
        "Snapdragon X Elite X1E-80-100",
        32,
    ),
    ("M1 Max 64GB", "Apple M1 Max", 1, "Apple M1 Max", 64),
    ("MacBook Pro M3 Max 128GB", "Apple M3 Max", 1, "Apple M3 Max", 128),
    ("Mac Studio M2 Ultra 192GB", "Apple M2 Ultra", 1, "Apple M2 Ultra", 192),
    ("Mac Studio M3 Ultra 512GB", "Apple M3 Ultra", 1, "Apple M3 Ultra", 512),
    ("Mac mini M4 Pro 64GB", "Apple M4 Pro", 1, "Apple M4 Pro", 64),
    ("M4 Max (40-core GPU) 128GB", "Apple M4 Max", 1, "Apple M4 Max", 128),
    ("Apple M5 Max 128GB", "Apple M5 Max", 1, "Apple M5 Max", 128),
    ("M5 32GB", "Apple M5", 1, "Apple M5", 32),
    ("DGX Spark 128GB", "GB10", 1, "NVIDIA GB10", 128),
    ("GH200 96GB", "GH200", 1, "NVIDIA Grace", 480),
    ("Jetson AGX Orin 64GB", "Jetson AGX Orin", 1, "Jetson AGX Orin", 64),
    ("Jetson Orin Nano Super 8GB", "Jetson Orin Nano", 1, "Jetson Orin Nano", 8),
    (
        "RTX 5060 Ti 16GB + Ryzen 5 9600X + 2x32GB DDR5-5600",
        "GeForce RTX 5060 Ti",
        1,
        "Ryzen 5 9600X",
        64,
    ),
    (
        "2x RTX 5060 Ti 16GB + Ryzen 7 7700 + 64GB DDR5-6000",
        "GeForce RTX 5060 Ti",
        2,
        "Ryzen 7 7700",
        64,
    ),
    ("RTX 5050 + i5-14400F + 32GB DDR5-5600", "GeForce RTX 5050", 1, "Core i5-14400F", 32),
    ("RX 9070 XT + 9700X + 2x16GB DDR5-6000", "Radeon RX 9070 XT", 1, "Ryzen 7 9700X", 32),
    ("RX 9060 XT 16GB + Ryzen 5 7600 + 32GB DDR5-6000", "Radeon RX 9060 XT", 1, "Ryzen 5 7600", 32),
    (
        "2x Radeon AI PRO R9700 + Threadripper 7970X + 4x32GB DDR5-5600",
        "Radeon AI PRO R9700",
        2,
        "Ryzen Threadripper 7970X",
        128,
    ),
    ("RX 7600 XT 16GB + Ryzen 5 5500 + 16GB DDR4-3200", "Radeon RX 7600 XT", 1, "Ryzen 5 5500", 16),
    ("Radeon VII + Ryzen 7 2700X + 32GB DDR4", "Radeon VII", 1, "Ryzen 7 2700X", 32),
    (
        "Radeon Pro VII 16GB + Ryzen 5 3600 + 32GB DDR4-3200",
        "Radeon Pro VII",
        1,
        "Ryzen 5 3600",
        32,
    ),
    ("8x MI50 32GB + EPYC 7282 + 8x32GB DDR4-3200", "Instinct MI50", 8, "EPYC 7282", 256),
    ("8x MI300X + 2x EPYC 9575F + 24x96GB DDR5-6000", "Instinct MI300X", 8, "2 x EPYC 9575F", 2304),
    ("Radeon Pro W6800 + i7-8700K + 64GB DDR4-2666", "Radeon PRO W6800", 1, "Core i7-8700K", 64),
    (
        "Radeon Pro V620 32GB + EPYC 7402P + 8x16GB DDR4-3200",
        "Radeon PRO V620",
        1,
        "EPYC 7402P",
        128,
    ),
    (
        "V100 32GB SXM2 + Xeon Gold 6130 + 6x16GB DDR4-2666",
        "Tesla V100 SXM2",
        1,
        "Xeon Gold 6130",
        96,
    ),
    ("CMP 50HX + Ryzen 5 1600 + 32GB DDR4", "CMP 50HX", 1, "Ryzen 5 1600", 32),
    ("P102-100 10GB + i5-6500 + 32GB DDR4", "P102-100", 1, "Core i5-6500", 32),
    (
        "Quadro RTX 8000 + 2x Xeon Silver 4214 + 12x32GB DDR4-2400",
        "Quadro RTX 8000",
        1,
        "2 x Xeon Silver 4214",
        384,
    ),
    ("RTX 3080 20GB + Ryzen 9 3900X + 64GB DDR4-3200", "GeForce RTX 3080", 1, "Ryzen 9 3900X", 64),
    (
        "RTX 3090 eGPU Thunderbolt 4 + Core Ultra 7 155H + 64GB DDR5-5600",
        "GeForce RTX 3090",
        1,
        "Core Ultra 7 155H",
        64,
    ),
    (
        "RTX 4090 + RTX 3090 + i9-14900K + 192GB DDR5-5200 + 2TB NVMe Gen4",
        "GeForce RTX 4090",
        1,
        "Core i9-14900K",
        192,
    ),
    (
        "RTX 4060 Ti 16GB, Ryzen 5 7600, 32 GB DDR5, 1TB NVMe SSD",
        "GeForce RTX 4060 Ti",
        1,
        "Ryzen 5 7600",
        32,
    ),
    ("ASUS TUF RTX 4080 Super + R9 7900X + 64GB", "GeForce RTX 4080 SUPER", 1, "Ryzen 9 7900X", 64),
    ("3090 x2 + 5950x + 128gb ddr4", "GeForce RTX 3090", 2, "Ryzen 9 5950X", 128),
    ("MacBook Air M2 16GB", "Apple M2", 1, "Apple M2", 16),
    ('MacBook Pro 16" M1 Max 64GB', "Apple M1 Max", 1, "Apple M1 Max", 64),
    ("M4 Max 128GB (16-core CPU, 40-core GPU)", "Apple M4 Max", 1, "Apple M4 Max", 128),
    ("Framework Desktop 128GB", "Radeon 8060S", 1, "Ryzen AI Max+ 395", 128),
    ("ASUS Ascent GX10", "GB10", 1, "NVIDIA GB10", 128),
    ("EPYC 7532 512GB 8-channel DDR4-3200", "no GPU", 0, "EPYC 7532", 512),
    (
        "AMD EPYC 7B13 64-Core Processor + 8x64GB DDR4-3200 + RTX 3090",
        "GeForce RTX 3090",
        1,
        "EPYC 7B13",
        512,
    ),
    ("2x EPYC 9R14 + 24x32GB DDR5-4800", "no GPU", 0, "2 x EPYC 9R14", 768),
    ("EPYC Rome 7F72 + 256GB", "no GPU", 0, "EPYC 7F72", 256),
    (
        "Threadripper 7970X 4x RTX 3090 128GB DDR5",
        "GeForce RTX 3090",
        4,
        "Ryzen Threadripper 7970X",
        128,
    ),
    ("2x E5-2690 v4 256GB 2x P40", "Tesla P40", 2, "2 x Xeon E5-2690 v4", 256),
    ("Ryzen AI 9 HX 370 64GB LPDDR5X", "no GPU", 0, "Ryzen AI 9 HX 370", 64),
    (
        "AMD Ryzen 7 9800X3D, NVIDIA GeForce RTX 5090 32GB GDDR7, 64GB DDR5-6000 CL30",
        "GeForce RTX 5090",
        1,
        "Ryzen 7 9800X3D",
        64,
    ),
    (
        "CPU: Ryzen 9 9900X, GPU: 2x RTX 3090, RAM: 96 GB DDR5 6000",
        "GeForce RTX 3090",
        2,
        "Ryzen 9 9900X",
        96,
    ),
    ("7950X + RTX 4090 + 4x32 DDR5 4800", "GeForce RTX 4090", 1, "Ryzen 9 7950X", 128),
    ("7950X + 64 gigs of ddr5", "no GPU", 0, "Ryzen 9 7950X", 64),
    (
        "EVGA RTX 3080 Ti FTW3 + 5900X + 4x16GB DDR4-3600",
        "GeForce RTX 3080 Ti",
        1,
        "Ryzen 9 5900X",
        64,
    ),
]
"""The line, its first GPU and how many of it, its CPU, and its memory in GiB."""

UNKNOWN = [
    ("RTX 5080 Super + 9800X3D", "GeForce RTX 4080 SUPER"),
    ("EPYC 7C13 + 8x32GB DDR4-3200", "EPYC 7V13"),
    ("RX 9080 XT + 9800X3D", "Radeon RX 9070 XT"),
    ("Xeon W-2297 + RTX 3090", "Xeon W-2295"),
    ("Ryzen AI 9 HX 371 + 890M", "Ryzen AI 9 HX 370"),
    ("Core i9-10981XE + RTX 3090", "Core i9-10980XE"),
    ("Radeon 790M + Ryzen 7 8845HS", "Radeon 780M"),
    ("Arc Pro B80 + 7950X", "Arc Pro B60"),
    ("N110 + 16GB DDR5", "Intel N100"),
    ("M6 Max 128GB", "Apple M4 Max"),
]
"""A part that the library has not, and one that is to be among those it names."""


@pytest.mark.parametrize(("line", "gpu", "count", "cpu", "gib"), POSTED)
def test_a_posted_list_is_the_machine_meant(
    line: str, gpu: str, count: int, cpu: str, gib: int
) -> None:
    """Its parts, their numbers and the size of its memory."""
    machine = load_machine(line)
    assert (machine.gpu.name, machine.gpu.count, machine.cpu.name) == (gpu, count, cpu)
    assert f" {gib} GiB" in machine.description


@pytest.mark.parametrize(("line", "near"), UNKNOWN)
def test_an_unknown_part_names_the_nearest(line: str, near: str) -> None:
    """Rather than a machine that was not meant."""
    with pytest.raises(InputError) as caught:
        load_machine(line)
    assert near in str(caught.value)


@pytest.mark.parametrize(
    ("line", "link"),
    [
        ("RTX 3090 OCuLink + Ryzen 9 6900HX", "PCIe 4.0 x4"),
        ("RTX 3090 eGPU over USB4 + Ryzen 9 6900HX", "PCIe 3.0 x4"),
        ("RTX 3090 Thunderbolt 4 + Core Ultra 7 155H", "PCIe 3.0 x4"),
        ("RTX 5090 Thunderbolt 5 + Core Ultra 9 275HX", "PCIe 4.0 x4"),
    ],
)
def test_a_cable_is_the_link_that_it_carries(line: str, link: str) -> None:
    """By the rates in the cables' specifications."""
    assert load_machine(line).link.name == link


@pytest.mark.parametrize("line", ["EPYC 7532 8 channel 3200", "EPYC 7532 + 8-channel DDR4-3200"])
def test_channels_without_a_size_leave_the_size_open(line: str) -> None:
    """The rate is that of the channels."""
    machine = load_machine(line)
    assert machine.cpu.memory_bytes is None
    assert machine.cpu.memory_bytes_per_s.value == 8 * 3200e6 * 8
    assert any("unknown and limits nothing" in said for said in machine.assumptions)


@pytest.mark.parametrize(
    ("line", "mt_per_s"),
    [
        ("i5-12400F + 2x16GB DDR4", 3200),
        ("i5-12400F + 2x16GB DDR5", 4800),
        ("Ryzen AI 9 HX 370 + 32GB LPDDR5X", 7467),
        ("i7-1165G7 + 16GB LPDDR4X", 4267),
    ],
)
def test_memory_of_another_kind_than_the_listed_one_runs_as_is_usual(
    line: str, mt_per_s: int
) -> None:
    """Not at the slowest rate of its kind, at which it is hardly sold."""
    assert load_machine(line).cpu.memory_bytes_per_s.value == 2 * mt_per_s * 1e6 * 8


@pytest.mark.parametrize(
    "line",
    [
        "RTX 3070 12GB",
        "B200 192GB",
        "EPYC 7532 octa channel",
        "7950X 5950X",
        "EPYC 7302 512GB 256GB DDR4",
        "Dell R730 RTX 3090",
        "RTX 5080 Super 24GB",
    ],
)
def test_parts_in_a_row_are_not_guessed(line: str) -> None:
    """A slip in a card's size is no memory behind it, and a word that is unknown stays so."""
    with pytest.raises(InputError):
        load_machine(line)


def test_graphics_inside_a_cpu_read_the_memory_of_the_cpu() -> None:
    """Its rate, and half of its size; beside a card they are left out, which is said."""
    alone = load_machine("Ryzen 7 8845HS + Radeon 780M + 2x32GB DDR5-5600")
    assert alone.gpu.memory_bytes_per_s.value == 2 * 5600e6 * 8
    assert alone.gpu.memory_bytes.effective == 32 * 2**30
    assert alone.cpu.memory_bytes is not None
    assert alone.cpu.memory_bytes.value == 32 * 2**30
    beside = load_machine("Ryzen 7 8845HS + Radeon 780M + RTX 4060 Laptop + 2x32GB DDR5-5600")
    assert beside.gpu.name == "GeForce RTX 4060 Laptop"
    assert any("Radeon 780M is left out beside" in each for each in beside.assumptions)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Ryzen 7 8845HS + Radeon 780M", "Radeon 780M has the memory of its CPU; write that too"),
        ("Radeon 780M 16GB + 2x16GB DDR5-5600", "write that as a part of its own"),
        ("2xRadeon 780M + 2x16GB DDR5-5600", "a machine has one of it and no other GPU"),
    ],
)
def test_graphics_inside_a_cpu_need_its_memory(line: str, message: str) -> None:
    """The message says how."""
    with pytest.raises(InputError) as caught:
        load_machine(line)
    assert message in str(caught.value)


MODULES = st.tuples(
    st.integers(1, 8), st.sampled_from([8, 16, 32, 64]), st.sampled_from([2133, 2933, 3200])
)
"""Modules, GB of each, and their rate in MT/s, of a socket with eight channels of DDR4."""
SPELLINGS = (
    "{count}x{size}GB DDR4-{rate}",
    "{total}GB ({count}x{size}GB) DDR4 {rate}",
    "DDR4-{rate} {count}x{size}GB",
    "{count} x {size} GB DDR4 {rate}MHz CL22 ECC RDIMM",
    "{total}GB DDR4-{rate} {count}-channel",
    "{count}x{size}GB {rate} MT/s RAM",
    "{count}x{size}GB RDIMM DDR4-{rate}",
    "{count}X{size}gb  ddr4-{rate}",
)


@given(modules=MODULES, spelling=st.sampled_from(SPELLINGS), sockets=st.integers(1, 2))
@settings(max_examples=40)
def test_memory_is_one_however_it_is_written(
    modules: tuple[int, int, int], spelling: str, sockets: int
) -> None:
    """Bytes of all modules, bandwidth of as many channels, of every socket."""
    count, size, rate = modules
    memory = spelling.format(count=count, size=size, rate=rate, total=count * size)
    each = f"2xEPYC 7302 + 2x({memory})" if sockets == 2 else f"EPYC 7302 + {memory}"
    cpu = load_machine(each).cpu
    assert cpu.memory_bytes is not None
    assert (cpu.sockets, cpu.memory_bytes.value) == (sockets, sockets * count * size * 2**30)
    assert cpu.memory_bytes_per_s.value == pytest.approx(sockets * count * rate * 1e6 * 8)


@given(modules=MODULES, total=st.integers(1, 4096))
@settings(max_examples=40)
def test_a_total_that_its_modules_are_not_is_refused(
    modules: tuple[int, int, int], total: int
) -> None:
    """Two sizes leave open which is meant."""
    count, size, rate = modules
    line = f"EPYC 7302 + {total}GB ({count}x{size}GB) DDR4 {rate}"
    if total == count * size:
        assert load_machine(line).cpu.memory_bytes is not None
        return
    with pytest.raises(InputError, match="memory is written as"):
        load_machine(line)
