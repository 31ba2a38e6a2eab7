"""Files of grown models, written once; every later version loads them."""
