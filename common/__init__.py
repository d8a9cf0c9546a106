"""What more than one Flowerbed baseline needs, and nothing else.

Data flows one way: config -> data -> partition -> run -> results -> analysis.
"""
